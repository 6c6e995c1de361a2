"""Reads the rows of a CSV file or a workbook as texts, one at a time, and writes rows as CSV.

Encodings are found out: UTF-8 (with a byte order mark or without), UTF-16 with one, else GB18030, in which old systems export.
A cell is a text, whatever it looks like: a formula is never worked out, and what a spreadsheet would take for one is written
with an apostrophe before it, which is taken off again when read. What must not go in here: what the columns mean
(resource_rows.py).
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import io
import itertools
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

from broker.errors import CatalogueRefused, DirectoryUnusable

_CHUNK_BYTES = 1 << 16
_MAX_UNPACKED_BYTES = 256 << 20  # of a workbook: a small file may unpack to anything
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_MARK = "\ufeff"  # the byte order mark, where it was read as a character
_DELIMITERS = ",\t;"
_HEAD_ROWS = 10  # by which the delimiter is found out: titles and remarks may stand above the headings
_MAX_CELL_CHARS = 1 << 17  # far more than any column may have
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


class Row(NamedTuple):
    """One row that is not empty, and its number as a spreadsheet shows it."""

    number: int
    cells: tuple[str, ...]


class Sheet(NamedTuple):
    """The rows of a file, to be read once, and about how many there are."""

    rows: Iterator[Row]
    about: int
    encoding: str  # "" for a workbook


def read(path: Path, encoding: str = "") -> Sheet:
    """Open a file by its ending, ``.csv`` or ``.xlsx``; the encoding is found out if none is given.

    Raises:
        DirectoryUnusable: it cannot be read, now or while its rows are.
        CatalogueRefused: it is not what its ending says, now or while its rows are read.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise CatalogueRefused((f"{path.name}: must end in {' or '.join(_READERS)}",))
    try:
        return reader(path, encoding)
    except OSError as error:
        raise DirectoryUnusable(f"{path}: cannot be read ({error.strerror or type(error).__name__})") from error


def write(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write rows as CSV that spreadsheets open rightly: UTF-8 with a byte order mark, nothing that they take for a formula.

    Raises:
        DirectoryUnusable: it cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8-sig", newline="") as stream:
            csv.writer(stream).writerows([_guarded(cell) for cell in row] for row in rows)
    except OSError as error:
        raise DirectoryUnusable(f"{path}: cannot be written ({error.strerror})") from error


def _guarded(cell: str) -> str:
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


# --- CSV ----------------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, encoding: str) -> Sheet:
    found, lines = _look(path, encoding)
    return Sheet(_csv_rows(path, found), lines, found)


def _look(path: Path, encoding: str) -> tuple[str, int]:
    """Return the encoding and the number of lines, reading the file once."""
    with path.open("rb") as stream:
        head = stream.read(_CHUNK_BYTES)
        marked = next((name for mark, name in _MARKS if head.startswith(mark)), "")
        guess = encoding or marked or "utf-8"
        stream.seek(0)
        decoder, lines = codecs.getincrementaldecoder("utf-8")(), 0
        while chunk := stream.read(_CHUNK_BYTES):
            lines += chunk.count(b"\n")
            if guess == "utf-8" and not encoding and not _decodes(decoder, chunk):
                guess = "gb18030"
    if guess == "utf-8" and not encoding and not _decodes(decoder, b"", final=True):
        guess = "gb18030"
    return guess, lines


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def _csv_rows(path: Path, encoding: str) -> Iterator[Row]:
    number = 0
    csv.field_size_limit(_MAX_CELL_CHARS)  # of the process: nothing else here reads CSV
    try:
        delimiter = _delimiter(path, encoding)
        with path.open(encoding=encoding, newline="") as stream:
            for number, cells in enumerate(csv.reader(_unmarked(stream), delimiter=delimiter, strict=True), 1):
                if any(cell.strip() for cell in cells):
                    yield Row(number, tuple(map(_unguarded, cells)))
    except UnicodeError:
        raise CatalogueRefused((f"{path.name}: after row {number}: is not {encoding}; try --encoding",)) from None
    except csv.Error as error:
        what = f"a cell is longer than {_MAX_CELL_CHARS} characters" if "limit" in str(error) else "is not CSV"
        raise CatalogueRefused((f"{path.name}: after row {number}: {what} (a quotation mark is missing?)",)) from None


def _unmarked(stream: TextIO) -> Iterator[str]:
    """Give the lines without the byte order mark, which would belong to the first heading and to its quotation mark."""
    for number, line in enumerate(stream):
        yield line if number else line.removeprefix(_MARK)


def _delimiter(path: Path, encoding: str) -> str:
    """Return the delimiter that splits the most of the first rows, the headings among them, and into the most cells.

    Others may occur within cells, a semicolon between items above all, but hardly in headings.
    """
    with path.open(encoding=encoding, errors="replace", newline="") as stream:
        head = stream.read(_CHUNK_BYTES).removeprefix(_MARK)

    def splits(delimiter: str) -> tuple[int, int]:
        rows = itertools.islice(csv.reader(io.StringIO(head, newline=""), delimiter=delimiter), _HEAD_ROWS)
        widths = [len(cells) for cells in rows if len(cells) > 1]
        return len(widths), min(widths, default=0)

    return max(_DELIMITERS, key=splits)


# --- workbooks ----------------------------------------------------------------------------------------------------------


def _read_workbook(path: Path, _encoding: str) -> Sheet:
    refusal = CatalogueRefused((f"{path.name}: is not an XLSX workbook",))
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _MAX_UNPACKED_BYTES:
            raise CatalogueRefused((f"{path.name}: is larger than {_MAX_UNPACKED_BYTES >> 20} MiB when unpacked",))
        workbook = CalamineWorkbook.from_path(str(path))
        names = [sheet.name for sheet in workbook.sheets_metadata if _is_table(sheet.typ, sheet.visible)]
        if not names:
            raise refusal
        sheet = workbook.get_sheet_by_name(names[0])
    except (zipfile.BadZipFile, CalamineError):
        raise refusal from None
    texts = ((number, tuple(map(_text, cells))) for number, cells in enumerate(sheet.iter_rows(), 1))
    rows = (Row(number, cells) for number, cells in texts if any(cell.strip() for cell in cells))
    return Sheet(rows, sheet.total_height, "")


def _is_table(kind: SheetTypeEnum, visible: SheetVisibleEnum) -> bool:
    return kind == SheetTypeEnum.WorkSheet and visible == SheetVisibleEnum.Visible


def _text(cell: object) -> str:
    """Return a cell as one would type it: spreadsheets know neither whole numbers nor days."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, dt.datetime) and cell.time() == dt.time():
        return cell.date().isoformat()
    return cell.isoformat() if isinstance(cell, dt.date | dt.time) else str(cell)


_READERS: dict[str, Callable[[Path, str], Sheet]] = {".csv": _read_csv, ".xlsx": _read_workbook}
