"""The log as those read it who may: who asked about a subject, one record, the newest checkpoint, a proof.

Everything here reads files, and may take its time: not for an event loop. What must not go in here: who may read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from google.protobuf.message import DecodeError

from broker.audit import archive, checkpoints, proofs, records
from broker.audit.layout import VERIFIER_FILE, HeaderDamaged, algorithm_of, header_of, segments_of, streams_of
from broker.audit.notes import Keys, NoteRefused, Verifier
from broker.audit.proofs import Proof
from broker.audit.records import RecordId
from broker.audit.subject import SubjectKey
from broker.audit.usage import Page, Release, UsageIndex, is_told
from broker.config import Config
from broker.errors import AuditRefused, NotFound
from broker.v1 import audit_pb2 as pb

_DAY_S = 86_400


class LogReader:
    """Reads one log."""

    def __init__(self, settings: Config, key: SubjectKey, index: Callable[[], UsageIndex]) -> None:
        """Read by an index that a process opens once, as LMDB wants it."""
        self._directory = settings.path(settings.audit.directory)
        self._archives = settings.path(settings.audit.archive_dir)
        self._origin = settings.audit.origin
        self._key = key
        self._index = index
        self._releases = {name: Release(after_s=days * _DAY_S) for name, days in settings.audit.embargo_days.items()}

    def subjects(self, forms: Iterable[str]) -> list[bytes]:
        """Return under what a subject may stand in the log, which may be known in several forms."""
        return [self._key.subject(form) for form in sorted(forms)]

    def usage(
        self, subjects: Iterable[bytes], period_ns: tuple[int, int], page_size: int, token: str = "", offset: int = 0
    ) -> Page:
        """Return a page of who asked about a subject, newest first, under whatever form, without what is under an embargo.

        Raises:
            InvalidRequest: the token is none of a page of this search.
            DirectoryUnusable: the index cannot be opened.
        """
        first, end = period_ns
        return self._index().find(
            *subjects,
            from_ns=first,
            until_ns=end,
            page_size=page_size,
            token=token,
            offset=offset,
            releases=self._releases,
        )

    def record(self, record_id: str, *, withheld: bool = True) -> pb.AuditRecord:
        """Return one record. Args: withheld: whether what is under an embargo is; it is then not told from what is not there.

        Raises:
            NotFound: there is none of that name.
        """
        with suppress(AuditRefused, DecodeError):
            wanted = RecordId.parse(record_id)
            found = records.find(self._directory / wanted.stream, wanted.sequence)
            told = records.told(wanted.stream, wanted.sequence, found.records[found.place])
            if not withheld or self._is_told(told):
                return told
        raise NotFound("there is no such record, it was archived, or it is under an embargo")

    def checkpoint(self) -> str:
        """Return the newest checkpoint, signed.

        Raises:
            NotFound: none was signed yet.
        """
        with suppress(NoteRefused):
            found = checkpoints.newest(self._directory, self._keys(), algorithm_of(self._directory), self._origin)
            if found is not None:
                return found[1]
        raise NotFound("no checkpoint was signed yet")

    def prove(self, record_id: str, *, withheld: bool = True) -> pb.GetInclusionProofResponse:
        """Return a proof that a record is in the log; it has the record in it, which is withheld as by `record`.

        Raises:
            NotFound: there is none of that name, or no checkpoint covers it yet.
        """
        with suppress(AuditRefused, DecodeError):
            proof = self._prove(RecordId.parse(record_id))
            if not withheld or self._is_told(pb.AuditRecord.FromString(proof.record)):
                return proof.to_message()
        raise NotFound("there is no such record, no checkpoint covers it yet, or it is under an embargo")

    def since_ns(self) -> int | None:
        """Return when the first was written of the segments that are kept, in nanoseconds since 1970; None: there is none."""
        kept = [folder for folders in archive.archived(self._archives).values() for folder in list(folders.values())[:1]]
        files = [file for folder in kept for file in segments_of(folder).values()]
        files += [file for folder in streams_of(self._directory).values() for file in list(segments_of(folder).values())[:1]]
        begun = []
        for file in files:
            with suppress(OSError, HeaderDamaged):
                begun.append(header_of(file).wall_ns)
        return min(begun, default=None)

    def _prove(self, wanted: RecordId) -> Proof:
        keys = self._keys()
        with suppress(AuditRefused):
            return proofs.prove(self._directory, wanted, keys, self._origin)
        return archive.prove_archived(self._archives, wanted, keys, self._origin)

    def _is_told(self, record: pb.AuditRecord) -> bool:
        return is_told(record.embargo, record.at.ToNanoseconds(), self._releases, time.time_ns())

    def _keys(self) -> Keys:
        try:
            lines = (self._directory / VERIFIER_FILE).read_text(encoding="utf-8").splitlines()
        except OSError:
            raise NotFound("no checkpoint was signed yet") from None
        return Keys(Verifier.parse(line) for line in lines if line.strip())
