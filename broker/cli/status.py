"""`broker status`: what the running broker says of itself."""

from __future__ import annotations

import typer
from google.protobuf.json_format import MessageToDict

from broker.cli.admin import admin
from broker.cli.output import ConfigFile, Json, emit, load_config, table
from broker.v1 import admin_pb2 as pb

app = typer.Typer()


@app.command()
def status(file: ConfigFile = None, json: Json = False) -> None:
    """Tell how the running broker is."""
    with admin(load_config(file)) as stub:
        answer = stub.GetStatus(pb.GetStatusRequest())
    facts = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    if json:
        emit(facts)
        return
    cache = {f"cache.{name}": value for name, value in facts.pop("cache").items()}
    table(("fact", "value"), [(name, str(value)) for name, value in (facts | cache).items()])
