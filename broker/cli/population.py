"""`broker demo population`: a synthetic population of any size, with truth and realistic errors, as files.

What must not go in here: what is in the files (`broker.demo.synthetic`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from broker.cli.output import Json, emit, say
from broker.demo.synthetic import SCHEMAS, Settings, blocks
from broker.demo.synthetic.files import Format, write
from broker.demo.synthetic.settings import MOST_PEOPLE
from broker.errors import DirectoryUnusable

app = typer.Typer()


@app.command()
def population(
    people: Annotated[int, typer.Option(min=1, max=MOST_PEOPLE, help="Rows of the base register.")],
    out: Annotated[Path, typer.Option(help="Directory for the files; files of the same names are replaced.")],
    seed: Annotated[int, typer.Option(min=0, max=(1 << 64) - 1, help="The same seed makes the same people.")] = 20180501,
    form: Annotated[Format, typer.Option("--format", help="How the files are written.")] = Format.PARQUET,
    json: Json = False,
) -> None:
    """Make a synthetic population: population, observed (records of other departments, with errors) and truth."""
    start = time.perf_counter()
    try:
        with _bar(people) as progress:
            rows = write(out, SCHEMAS, blocks(Settings(people=people, seed=seed)), form, progress)
    except OSError as error:
        raise DirectoryUnusable(f"{out} cannot be written to: {error.strerror or error}") from error
    spent = time.perf_counter() - start
    if json:
        emit({"directory": str(out), "format": form, "seed": seed, "rows": rows, "seconds": round(spent, 3)})
    else:
        counts = ", ".join(f"{name} {count:,}" for name, count in rows.items())
        say(f"{out}: {counts} rows in {spent:.1f} s; seed {seed}, nobody in them is real")


@contextmanager
def _bar(people: int) -> Iterator[Callable[[int], None]]:
    """Show how far it is, on a terminal only."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("people", total=people)
        yield lambda rows: progress.update(task, completed=rows)
