"""Records of the log as JSON lines, for other programs and for reading.

Digests are in hex, times as protobuf writes them in JSON. A line is ASCII where it matters: control characters, characters
that turn the direction of writing, and a first character that a spreadsheet would take for a formula are escaped, which
JSON reads back as they were. What must not go in here: which records (the caller's), and whether they are genuine
(verify.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from broker.audit import records
from broker.audit.layout import segments_of
from broker.v1 import audit_pb2 as pb

# Controls (C0 is escaped by JSON itself), line and paragraph separators, marks of direction, the byte order mark.
_HIDDEN = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_FORMULA = re.compile(r'(?<!\\)"([=+\-@])')
_BYTES = pb.AuditRecord.DESCRIPTOR.fields_by_name["subject"].type


def as_json(record: pb.AuditRecord) -> dict[str, Any]:
    """Return the fields that are set, by name."""
    told: dict[str, Any] = {}
    for field, value in record.ListFields():
        if field.message_type:
            told[field.name] = value.ToJsonString()
        elif field.type == _BYTES:
            told[field.name] = value.hex()
        elif field.enum_type:
            number = field.enum_type.values_by_number.get(value)
            told[field.name] = number.name.removeprefix("AUDIT_KIND_") if number else value
        else:
            told[field.name] = value if isinstance(value, str | int) else list(value)
    return told


def line(told: dict[str, Any]) -> str:
    """Return one line of JSON, with its newline."""
    text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
    text = _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return _FORMULA.sub(lambda found: f'"\\u{ord(found[1]):04x}', text) + "\n"


def lines(folder: Path, *, from_ns: int = 0, until_ns: int = (1 << 64) - 1) -> Iterator[str]:
    """Yield the records of a stream (a folder with segments) of a period as lines, in order.

    Raises:
        OSError, ValueError: a segment cannot be read.
    """
    for segment in segments_of(folder):
        for _, first, found in records.batches(folder, segment):
            for sequence, record in enumerate(found, first):
                if told := _told(folder.name, sequence, record, from_ns, until_ns):
                    yield line(told)


def _told(stream: str, sequence: int, record: bytes, from_ns: int, until_ns: int) -> dict[str, Any] | None:
    try:
        read = records.told(stream, sequence, record)
    except DecodeError:
        return {"audit_id": f"{stream}.{sequence}", "undecodable": record.hex()}
    happened = read.at.seconds * 1_000_000_000 + read.at.nanos
    return as_json(read) if from_ns <= happened < until_ns else None
