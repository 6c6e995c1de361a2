"""`broker demo`: start everything on embedded defaults, take the guided tour, print what was measured.

`broker demo population` is imported when it is named (population.py): the tour needs no columns of millions.
"""

from __future__ import annotations

import asyncio
import importlib
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from broker import __version__
from broker.cli.output import Json, console, emit
from broker.demo.interfaces import sample_arguments
from broker.demo.launch import Demo, running
from broker.demo.step import Broken, Step
from broker.demo.tour import BASIC, take

EXIT_BROKEN = 12
_progress = Console(stderr=True)

SUBCOMMANDS = ("population",)  # modules of broker.cli with an `app`


class _OnDemand(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        """Name the subcommands."""
        del ctx
        return list(SUBCOMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the one that is asked for."""
        del ctx
        if cmd_name not in SUBCOMMANDS:
            return None
        command = typer.main.get_command(importlib.import_module(f"broker.cli.{cmd_name}").app)
        command.name = cmd_name
        return command


app = typer.Typer(cls=_OnDemand)


@app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards and say what to try.")] = False,
    directory: Annotated[Path, typer.Option(help="Where the demonstration keeps its files.")] = Path("var/demo"),
    city_database: Annotated[
        str, typer.Option(help="Empty PostgreSQL database for the city, postgresql://user@host/name; SQLite without.")
    ] = "",
    json: Json = False,
) -> None:
    """Show the broker's main job on a synthetic city; exit code 0 only if every step did what it says."""
    if context.invoked_subcommand:
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that what was started is stopped
    with _progress.status("starting") as status, running(directory, city_database, status.update) as started:
        status.stop()
        broken = asyncio.run(_show(started, json))
        if keep and not broken:
            _keep(started)
    if broken:
        sys.stderr.write(f"broker: the demonstration is broken: {broken}\n")
        raise SystemExit(EXIT_BROKEN)


async def _show(started: Demo, json: bool) -> str:
    """Take the tour and print it; returns what was broken, or ""."""
    steps: list[Step] = []
    broken = ""
    try:
        with _progress.status("touring") as status:
            async for step in take(started):
                steps.append(step)
                status.update(f"touring: {step.title}")
    except Broken as error:
        broken = str(error)
    if json:
        emit({"ok": not broken, "broken": broken, "steps": steps, "target": started.target, "admin": started.admin_url})
    else:
        _print(started, steps)
    return broken


def _print(started: Demo, steps: list[Step]) -> None:
    console.print(
        f"broker {__version__}   grpc {started.target} (cleartext, demonstration only)   admin {started.admin_url}/metrics\n"
        "synthetic city 云鹤市: 100,000 persons, 20,000 legal persons, 50,000 licences; none of them real",
        markup=False,
    )
    console.print(_row("", "step", "answer", "from", "time"), style="bold", markup=False)
    for number, step in enumerate(steps, 1):
        console.print(_row(str(number), step.title, step.result, step.source, _time(step.time_ms)), markup=False)
        for note in step.notes:
            console.print(f"    {note}", style="dim", markup=False)


def _row(number: str, title: str, result: str, source: str, time: str) -> str:
    """Columns for a terminal of 100 characters; notes run on below them, whole, so that commands in them can be copied."""
    return f"{number:>2}  {title:<44} {result:<20} {source:<20} {time:>9}"


def _time(ms: float | None) -> str:
    if ms is None:
        return ""
    return f"{ms * 1000:,.0f} µs" if ms < 10 else f"{ms:,.1f} ms"


def _keep(started: Demo) -> None:
    arguments = " ".join(f"{name}={value}" for name, value in sample_arguments(started.city, BASIC, 1)[0].items())
    program = Path(sys.argv[0])
    broker = str(program) if program.name == "broker" else "broker"
    console.print(
        "\nrunning; try, in another terminal:\n"
        f"  export BROKER_TARGET={started.target} BROKER_CONSUMER=civil-affairs\n"
        f"  export BROKER_KEY_FILE={started.key_file('civil-affairs')}\n"
        f"  {broker} call {BASIC} {arguments} --purpose subsidy-check\n"
        f"  {broker} status --config {started.config_file}\n"
        f"  curl {started.admin_url}/metrics\n"
        f"  grpcurl -plaintext {started.target} list\n"
        "Ctrl-C ends it.",
        markup=False,
    )
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("stopping")
