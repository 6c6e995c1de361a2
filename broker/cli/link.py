"""`broker link`: find which rows of two files are of the same person, or which rows of one are.

An operator's command on files; it needs no running broker and no settings. What must not go in here: reading and writing files
(link_files.py), which column is what (link_fields.py), the report (`broker.linkage.report`).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pyarrow as pa
import typer
from rich.progress import Progress

from broker import __version__
from broker.cli import link_files
from broker.cli.arguments import checked_encoding
from broker.cli.link_fields import KINDS, NOT_COMPARED, Fields, choose, known, said
from broker.cli.output import Json, emit, say
from broker.cli.progress import advance, bars, remark
from broker.errors import TablesRefused
from broker.linkage import Constraint, Decision
from broker.linkage.links import LEAST_PROBABILITY, LINK, REVIEW
from broker.linkage.outcome import FEW_ROWS, Outcome, Thresholds, Told, examine
from broker.linkage.report import About, page, percent

app = typer.Typer()

Out = Annotated[Path, typer.Option("--out", help="File for the pairs: .csv, .jsonl or .parquet.")]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        help=f"COLUMN=KIND, or LEFT:RIGHT=KIND where a column has two names; {NOT_COMPARED} leaves it out. "
        f"Kinds: {', '.join(KINDS)}. Columns with usual names need none.",
    ),
]
Report = Annotated[Path | None, typer.Option("--report", help="Write a page (HTML) that tells what was found, without data.")]
Link = Annotated[float, typer.Option("--threshold", min=LEAST_PROBABILITY, max=1, help="Least probability of a link.")]
Review = Annotated[float, typer.Option("--review", min=LEAST_PROBABILITY, max=1, help="Least probability to look at.")]
Many = Annotated[bool, typer.Option("--many", help="A row may have several links; without, at most one on each side.")]
Clusters = Annotated[Path | None, typer.Option("--clusters", help="One file only: write which rows belong together.")]
Key = Annotated[str, typer.Option("--key", help="Column that names a row, of both files; goes into what is written.")]
LeftKey = Annotated[str, typer.Option("--left-key", help="Likewise, of the first file.")]
RightKey = Annotated[str, typer.Option("--right-key", help="Likewise, of the second file.")]
Encoding = Annotated[str, typer.Option(help="Of CSV files, e.g. gb18030; found out without.")]


class Tables(NamedTuple):
    """What is linked: names of files and their tables, one or two, and the columns of their keys ("" is none)."""

    files: tuple[str, ...]
    tables: tuple[pa.Table, ...]
    keys: tuple[str, ...]

    def keys_by_side(self) -> dict[str, pa.ChunkedArray]:
        """Return the keys of both sides; of one file, both sides are it."""
        sides = zip(("left", "right"), self.tables * 2, self.keys * 2, strict=False)
        return {side: table[key] for side, table, key in sides if key}


@app.command("link")
def link_(
    left: Annotated[Path, typer.Argument(help="File: .csv, .tsv, .jsonl, .parquet.")],
    out: Out,
    right: Annotated[Path | None, typer.Argument(help="Second file; without, the duplicates of the first are found.")] = None,
    field: Kinds = None,
    report: Report = None,
    threshold: Link = LINK,
    review: Review = REVIEW,
    many: Many = False,
    clusters: Clusters = None,
    key: Key = "",
    left_key: LeftKey = "",
    right_key: RightKey = "",
    encoding: Encoding = "",
    json: Json = False,
) -> None:
    """Link the rows of two files that are of the same person, or find the duplicates of one; no examples are needed."""
    begun = time.perf_counter()
    options = said(field or ())
    if right is None and (many or right_key):
        raise typer.BadParameter("--many and --right-key are for two files")
    if right is not None and clusters:
        raise typer.BadParameter("is for one file", param_hint="--clusters")
    if review > threshold:
        raise typer.BadParameter("is above --threshold", param_hint="--review")
    link_files.check_names([left, *([right] if right else [])], out, clusters, report)
    constraint = Constraint.NONE if many else Constraint.ONE_TO_ONE
    with bars() as shown:
        given = _read([left, *([right] if right else [])], (left_key or key, right_key or key), encoding, shown)
        fields = choose([(f, t.column_names) for f, t in zip(given.files, given.tables, strict=True)], options)
        _tell_fields(shown, given, fields)
        with _stages(shown) as told:
            outcome = _examined(given, fields, constraint, Thresholds(threshold, review), bool(clusters or report), told)
            told("writing", 0, 0)
            written = link_files.write_pairs(out, outcome, given.keys_by_side())
            if clusters and outcome.clusters is not None:
                link_files.write_clusters(clusters, outcome.clusters, given.keys_by_side().get("left"))
            spent = time.perf_counter() - begun
            if report:
                link_files.write_page(report, page(outcome, About(given.files, _unused(given, fields), spent, __version__)))
    facts = _facts(given, fields, outcome) | {"written": written, "seconds": round(spent, 3)}
    facts |= {name: str(file) for name, file in (("out", out), ("clusters_file", clusters), ("report", report)) if file}
    emit(facts) if json else _tell(facts)


def _read(paths: list[Path], keys: tuple[str, str], encoding: str, shown: Progress) -> Tables:
    checked_encoding(encoding)
    tables = []
    for path in paths:
        task = shown.add_task(f"reading {path.name}", total=1.0)
        tables.append(link_files.read(path, encoding, functools.partial(advance, shown, task)))
    own = keys[: len(paths)]
    for path, table, key in zip(paths, tables, own, strict=True):
        if key and key not in table.column_names:
            raise TablesRefused(f"{path.name}: has no column `{key}` that --key names")
    return Tables(tuple(path.name for path in paths), tuple(tables), own)


@contextmanager
def _stages(shown: Progress) -> Iterator[Told]:
    """Show each stage as a bar of its own."""
    tasks: dict[str, Any] = {}

    def told(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            for task in tasks.values():
                shown.update(task, total=1, completed=1)
            tasks[stage] = shown.add_task(stage, total=total or None)
        shown.update(tasks[stage], completed=done)

    yield told


def _examined(
    given: Tables, fields: Fields, constraint: Constraint, thresholds: Thresholds, clusters: bool, told: Told
) -> Outcome:
    """Link the columns that are compared, by the left table's names."""
    columns = [[field.left for field in fields.compared], [field.right for field in fields.compared]]
    sides = [table.select(names) for table, names in zip(given.tables, columns, strict=False)]
    right = sides[1].rename_columns(columns[0]) if len(sides) > 1 else None
    return examine(sides[0], right, fields.schema, constraint, thresholds, clusters=clusters and right is None, told=told)


# --- what is told -------------------------------------------------------------------------------------------------------


def _tell_fields(shown: Progress, given: Tables, fields: Fields) -> None:
    """Say on standard error what was taken as what; where there is no heading, names of columns are somebody's data."""
    for field in fields.compared:
        names = field.left if len(given.files) == 1 or field.left == field.right else f"{field.left}, {field.right}"
        remark(shown, f"compared: {names} as {field.kind.name.lower()}")
    for file, table, unused in zip(given.files, given.tables, fields.unused, strict=True):
        if unused:
            remark(shown, f"not used of {file}: {', '.join(_names_to_tell(table, unused))}")
        if table.num_rows < FEW_ROWS:
            remark(shown, f"{file}: {table.num_rows} rows are few to learn from; the probabilities are rough")


def _unused(given: Tables, fields: Fields) -> tuple[tuple[str, ...], ...]:
    return tuple(_names_to_tell(table, unused) for table, unused in zip(given.tables, fields.unused, strict=True))


def _names_to_tell(table: pa.Table, unused: tuple[str, ...]) -> tuple[str, ...]:
    """Names of columns, or how many there are where they may be a row of data."""
    has_heading = sum(known(name) is not None for name in table.column_names) >= 2
    return unused if has_heading or not unused else (f"{len(unused)} columns",)


def _facts(given: Tables, fields: Fields, outcome: Outcome) -> dict[str, Any]:
    expected = outcome.expected
    facts = {
        "rows": [table.num_rows for table in given.tables],
        "fields": {field.left: field.kind.name.lower() for field in fields.compared},
        "compared": outcome.compared,
        "links": outcome.count(Decision.LINK),
        "review": outcome.count(Decision.REVIEW),
        "left_alone": outcome.count(Decision.NONE),
        "expected_precision": round(expected.precision, 6),
        "expected_recall": round(expected.recall, 6),
    }
    return facts | ({"clusters": len(outcome.cluster_sizes) and sum(outcome.cluster_sizes.values())} if outcome.within else {})


def _tell(facts: dict[str, Any]) -> None:
    rows = " and ".join(f"{count:,}" for count in facts["rows"])
    say(f"{rows} rows, {facts['compared']:,} pairs compared in {facts['seconds']:.1f} s")
    say(f"  links {facts['links']:,}, to review {facts['review']:,}, left alone {facts['left_alone']:,}")
    say(
        f"  expected of the links, by their own probabilities: {percent(facts['expected_precision'])} right, "
        f"{percent(facts['expected_recall'])} of the matches among the pairs compared"
    )
    files = [facts[name] for name in ("out", "clusters_file", "report") if name in facts]
    say(f"  {facts['written']:,} pairs written; {', '.join(files)}")
