"""How every command prints: a table or sentence for people, JSON on `--json`, and one line on standard error when it fails."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from broker import config
from broker.errors import StartupError

console = Console(highlight=False, soft_wrap=True)
_errors = Console(stderr=True, highlight=False, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", envvar="BROKER_CONFIG", help="Settings file (TOML); defaults without one.")
]


def load_config(file: Path | None) -> config.Config:
    """Read the settings as every command does."""
    return config.load(file)


def emit(value: Any) -> None:
    """Print a value as JSON."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    sys.stdout.flush()


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None, whole: Collection[str] = ()
) -> None:
    """Print rows under headings. Nothing is left out; what does not fit is folded, but in columns that are to stay whole."""
    drawn, given = Table(title=title, title_justify="left"), list(rows)
    for number, name in enumerate(columns):
        least = max((cell_len(row[number]) for row in given), default=0) if name in whole else None
        drawn.add_column(name, overflow="fold", min_width=least, no_wrap=name in whole)
    for row in given:
        drawn.add_row(*row)
    console.print(drawn)


def say(text: str) -> None:
    """Print a sentence, taking nothing in it for markup."""
    console.print(text, markup=False)


def fail(error: StartupError, details: Iterable[str] = ()) -> NoReturn:
    """Print what is wrong and end with the error's own exit code."""
    _errors.print(f"broker: {error}", markup=False)
    for line in details:
        _errors.print(f"  {line}", markup=False)
    raise SystemExit(error.exit_code)
