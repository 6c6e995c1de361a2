"""Where core and fronts meet, and how a worker tells the supervisor that it serves. Constants only."""

from __future__ import annotations

CORE_SOCKET = "{data_dir}/core.sock"  # mode 0600: who may open it is believed to be a front
READY_FD = "BROKER_READY_FD"  # environment variable: where a worker says that it serves
