"""What callers were answered, remembered, and compared with an audit log by both of its readers.

Each answer must stand there once, under the identifier that was told, with the request and the digest of what was told. What
must not go in here: who calls (callers.py), what happens to the broker meanwhile.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from broker._native import journal_check
from broker._native.journal_check import Walk
from broker.audit import verify
from broker.audit.layout import VERIFIER_FILE
from broker.audit.notes import Keys, Verifier
from broker.v1.audit_pb2 import AUDIT_KIND_INTENT, AUDIT_KIND_OUTCOME, AuditRecord
from tests import journal_kit as kit
from tests.oracle import audit as oracle


class Answered(NamedTuple):
    """What a caller was told, and what it had asked under."""

    audit_id: str
    request_id: str
    digest: bytes  # of the payload; empty: none was told
    source: str

    @property
    def role(self) -> str:
        """Of the process that answered: core or front."""
        return re.split(r"[-.]", self.audit_id)[0]


def streams(log: Path) -> list[Path]:
    return sorted(folder for folder in log.iterdir() if any(folder.glob("*.audit")))


def records_of(folder: Path) -> Iterator[bytes]:
    """The records of a stream, all of which is verified meanwhile, by the reader of the product."""
    walk = Walk(1)
    for _, data in kit.segments(folder):
        walk.begin_segment(data[:256])
        at = 256
        while True:
            end = walk.take(data, at, len(data), walk.batches + 1)[0]
            if end == at:
                break
            yield from (record for _, record in journal_check.records_at(data, at, len(data)))
            at = end


def _read_twice(folder: Path) -> tuple[list[bytes], bool]:
    """The records of a stream by the product, and whether the other reader has the same while nothing is written."""
    before: list[bytes] | None = None
    while (ours := list(records_of(folder))) != before:
        before = ours
        theirs = [record for _, held in kit.batches(folder, checked=False) for record in held]
        if ours == theirs:
            return ours, True
    return ours, False


class Log:
    """All records of a log, by identifier, as both readers have them."""

    def __init__(self, directory: Path) -> None:
        self.records: dict[str, AuditRecord] = {}
        self.differing: list[str] = []  # streams of which the readers tell different things
        for folder in streams(directory):
            ours, same = _read_twice(folder)
            self.differing += [] if same else [folder.name]
            self.records |= {f"{folder.name}.{n}": AuditRecord.FromString(record) for n, record in enumerate(ours)}
        outcomes = (one for one in self.records.values() if one.kind == AUDIT_KIND_OUTCOME)
        self.outcomes = Counter(one.request_id for one in outcomes if one.outcome in ("FOUND", "NOT_FOUND"))

    def problems(self, answers: Sequence[Answered]) -> list[str]:
        """What of the answers is not there as it must be: once, under its name, with what was told."""
        told = Counter(answer.audit_id for answer in answers)
        found = [f"{stream}: the two readers differ" for stream in self.differing]
        found += [f"{name}: {count} answers have this identifier" for name, count in told.items() if count > 1]
        return found + [f"{answer.audit_id}: {wrong}" for answer in answers if (wrong := self._wrong(answer))]

    def _wrong(self, answer: Answered) -> str:
        record = self.records.get(answer.audit_id)
        if record is None:
            return "is not in the log"
        if record.kind != AUDIT_KIND_OUTCOME or record.request_id != answer.request_id:
            return "is another record"
        if (record.answer_digest, record.source) != (answer.digest, answer.source):
            return "tells of another answer"
        if self.outcomes[answer.request_id] != 1:
            return f"is there {self.outcomes[answer.request_id]} times"
        if record.source == "UPSTREAM" and self._kind(record.intent) != AUDIT_KIND_INTENT:
            return "has no INTENT"
        return ""

    def _kind(self, name: str) -> int:
        record = self.records.get(name)
        return record.kind if record else 0


def faults(log: Path) -> list[str]:
    """What is wrong with streams and checkpoints, by the verifier of the product and by the one that knows nothing of ours."""
    vkey = (log / VERIFIER_FILE).read_text().strip()
    report = verify.verify(log, Keys([Verifier.parse(vkey)]))
    found = [str(fault) for fault in report.faults] + [f"{fault} (oracle)" for fault in oracle.verify(log, [vkey])]
    return found + ([] if report.checkpoints else ["nothing was signed"])
