"""How streams are written, from the settings. What must not go in here: opening them (streams.py)."""

from __future__ import annotations

from broker._native import merkle
from broker.audit.streams import Writing
from broker.config import Audit
from broker.model.catalogue import Interface

_ALGORITHMS = {"sha256": merkle.SHA256, "sm3": merkle.SM3}
_STEP_BYTES = 4 << 20  # by which room is reserved on the disk


def waits_for_disk(mode: str, interface: Interface | None) -> bool:
    """Whether what is told of an access waits until its record is durable; without an interface: of a refusal, or a look."""
    if interface is not None and interface.sensitive:
        return True
    return mode == "durable" and (interface is None or interface.audit == "durable")


def writing_of(audit: Audit) -> Writing:
    """Return how the streams of a process are written."""
    segment = audit.segment_mib << 20
    return Writing(
        _ALGORITHMS[audit.hash], segment, min(segment, _STEP_BYTES), audit.linger_us, patience_s=audit.patience_ms / 1000
    )
