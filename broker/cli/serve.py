"""`broker serve` and `broker status`."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from broker.cli.admin import admin
from broker.cli.output import ConfigFile, Json, emit, load_config, table
from broker.serve import supervisor
from broker.telemetry import log
from broker.v1 import admin_pb2 as pb


def serve(
    file: ConfigFile = None,
    json: Annotated[bool, typer.Option("--json", help="Log as JSON lines even on a terminal.")] = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C: a supervisor and the core it watches."""
    config = load_config(file)
    log.configure(config.log, force_json=json)
    arguments = [*(["--config", str(file)] if file else []), *(["--json-logs"] if json else [])]
    raise SystemExit(supervisor.run(config, arguments))


def status(file: ConfigFile = None, json: Json = False) -> None:
    """Tell how the running broker is."""
    with admin(load_config(file)) as stub:
        answer = stub.GetStatus(pb.GetStatusRequest())
    facts = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    if json:
        emit(facts)
        return
    cache = facts.pop("cache")
    table(("fact", "value"), [(name, str(value)) for name, value in {**facts, **_prefixed(cache)}.items()])


def _prefixed(cache: dict[str, str]) -> dict[str, str]:
    return {f"cache.{name}": value for name, value in cache.items()}
