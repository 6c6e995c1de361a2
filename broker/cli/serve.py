"""`broker serve`: becomes the supervisor. Imports neither gRPC nor a database; see main.py."""

from __future__ import annotations

from typing import Annotated

import typer

from broker.cli.output import ConfigFile, load_config
from broker.serve import supervisor
from broker.telemetry import log

app = typer.Typer()


@app.command()
def serve(
    file: ConfigFile = None,
    json: Annotated[bool, typer.Option("--json", help="Log as JSON lines even on a terminal.")] = False,
) -> None:
    """Serve until SIGTERM or Ctrl-C: a supervisor and the core it watches."""
    config = load_config(file)
    log.configure(config.log, force_json=json)
    arguments = [*(["--config", str(file)] if file else []), *(["--json-logs"] if json else [])]
    raise SystemExit(supervisor.run(config, arguments))
