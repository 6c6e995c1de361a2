"""`broker demo population`: a synthetic population of any size, with truth and realistic errors, as files.

What must not go in here: what is in the files (`broker.demo.synthetic`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from broker.cli.output import Json, emit, say
from broker.demo.synthetic import LEGAL_SCHEMAS, SCHEMAS, LegalSettings, Settings, blocks, legal_blocks
from broker.demo.synthetic.files import Format, write
from broker.demo.synthetic.legal import MOST_COMPANIES
from broker.demo.synthetic.settings import MOST_PEOPLE
from broker.errors import DirectoryUnusable

app = typer.Typer()


class Kind(StrEnum):
    """Whom a population is of."""

    NATURAL = "natural"
    LEGAL = "legal"


# What is made of a number of them and a seed: schemas and batches of all files.
_MAKERS: dict[Kind, tuple[Mapping[Any, Any], Callable[[int, int], Iterator[Mapping[Any, Any]]]]] = {
    Kind.NATURAL: (SCHEMAS, lambda count, seed: blocks(Settings(people=count, seed=seed))),
    Kind.LEGAL: (LEGAL_SCHEMAS, lambda count, seed: legal_blocks(LegalSettings(companies=count, seed=seed))),
}


@app.command()
def population(
    people: Annotated[int, typer.Option(min=1, max=MOST_PEOPLE, help="Rows of the base register, legal persons too.")],
    out: Annotated[Path, typer.Option(help="Directory for the files; files of the same names are replaced.")],
    seed: Annotated[int, typer.Option(min=0, max=(1 << 64) - 1, help="The same seed makes the same people.")] = 20180501,
    form: Annotated[Format, typer.Option("--format", help="How the files are written.")] = Format.PARQUET,
    kind: Annotated[Kind, typer.Option(help="Natural persons, or legal ones (companies, shops, branches).")] = Kind.NATURAL,
    json: Json = False,
) -> None:
    """Make a synthetic population: population, observed (records of other departments, with errors) and truth."""
    if kind is Kind.LEGAL and people > MOST_COMPANIES:
        raise typer.BadParameter(f"at most {MOST_COMPANIES} legal persons", param_hint="--people")
    start = time.perf_counter()
    schemas, make = _MAKERS[kind]
    try:
        with _bar(people) as progress:
            rows = write(out, schemas, make(people, seed), form, progress)
    except OSError as error:
        raise DirectoryUnusable(f"{out} cannot be written to: {error.strerror or error}") from error
    spent = time.perf_counter() - start
    if json:
        emit({"directory": str(out), "format": form, "kind": kind, "seed": seed, "rows": rows, "seconds": round(spent, 3)})
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
