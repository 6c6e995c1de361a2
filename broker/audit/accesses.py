"""Accesses as they are put down: who asked whom for what, about whom, and what came of it.

An answer is given when its record is durable, and a provider is asked when it is durable that it will be. Whoever asks is told
the place of the record. What must not go in here: files and batches (streams.py), what an access is (model/access.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Unpack

from broker.audit.settings import waits_for_disk
from broker.audit.strangers import KNOWN_BURST, KNOWN_PER_SECOND, MOST_SAID, Strangers
from broker.audit.streams import Stream
from broker.audit.subject import SubjectKey
from broker.errors import AuditOverloaded, AuditUnavailable, BrokerError, CallerError
from broker.model import body
from broker.model.access import Access
from broker.model.call import Answer, Source
from broker.model.catalogue import Interface
from broker.v1.audit_pb2 import AUDIT_KIND_INTENT, AUDIT_KIND_LOOK, AUDIT_KIND_OUTCOME, AUDIT_KIND_TOLD

if TYPE_CHECKING:
    from broker._native.journal import Fields

CANCELLED, INTERNAL = "CANCELLED", "INTERNAL"
UNKNOWN_CALLERS = "unknown-callers"  # whose refusals a record with a count stands for
_TELL_EVERY_S = 1.0


class Accesses:
    """Puts accesses down in the stream of this process."""

    def __init__(self, stream: Stream, key: SubjectKey, mode: str = "durable") -> None:
        """Args: mode: that of the settings."""
        self._stream = stream
        self._key = key
        self._mode = mode
        self._refused = {"": Strangers()}  # by consumer
        self._telling: asyncio.TimerHandle | None = None
        self.is_held = False  # a change could not be put down: nothing leaves until it is

    def check(self) -> None:
        """Raises AuditUnavailable while nothing may leave, or be given."""
        if self.is_held or not self._stream.is_open:
            raise AuditUnavailable

    @property
    def is_open(self) -> bool:
        """Whether anything can be put down now."""
        return self._stream.is_open

    async def intended(self, access: Access) -> str:
        """Put down that the provider is about to be asked. Returns the identifier of the record.

        Raises:
            AuditUnavailable: it cannot be put down; the provider must not be asked.
            AuditOverloaded: likewise.
        """
        return await self._put(access, kind=AUDIT_KIND_INTENT)

    async def answered(self, access: Access, answer: Answer) -> str:
        """Put down what is about to be answered. Returns the identifier of the record.

        Raises:
            AuditUnavailable: it cannot be put down; nothing may be answered.
            AuditOverloaded: likewise.
        """
        return await self._put(
            access,
            outcome="FOUND" if answer.found else "NOT_FOUND",
            source="STALE" if answer.stale else Source(answer.source).name,
            fields=_shown(access) if answer.found else (),
            answer_digest=b"" if access.request.asserted is not None else body.digest(answer),
            snapshot_version=answer.snapshot_version,
            intent=answer.intent,
            provider_us=answer.provider_us,
        )

    async def found(self, access: Access, subjects: Iterable[str], shown: Iterable[str]) -> str:
        """Put down whom a search is about to show, and by which fields; returns the first record's identifier.

        Raises:
            AuditUnavailable: it cannot be put down; nobody may be shown.
            AuditOverloaded: likewise.
        """
        told: Fields = {"outcome": "FOUND", "source": Source.RECORDS.name, "fields": tuple(shown)}
        sequences = [self._append(access, subject, **told) for subject in subjects]
        sequences = sequences or [self._append(access, "", outcome="NOT_FOUND", source=Source.RECORDS.name)]
        await self._durable(sequences[-1], access.interface)
        return self._stream.identifier(sequences[0])

    async def failed(self, access: Access, error: BaseException) -> None:
        """Put down a refusal or a failure. It is not waited for where nobody waits for the call any more.

        Of refusals so many a caller are put down one by one; the others are counted, and told once a second.

        Raises:
            AuditUnavailable: it cannot be put down.
            AuditOverloaded: likewise.
        """
        if isinstance(error, AuditUnavailable):
            return  # it has just been tried
        is_refusal = isinstance(error, CallerError) and not access.is_done
        if (is_refusal or not access.consumer) and not self._admits(error, access.consumer):
            return
        if isinstance(error, BrokerError):
            error.is_put_down = True
            await self._put(access, outcome=error.reason, code=error.code)
        else:
            with contextlib.suppress(AuditUnavailable, AuditOverloaded):  # what has gone wrong is to be told, not this
                self._append(access, access.subject, outcome=_reason(error))

    async def refused(self, error: BrokerError, **about: Unpack[Fields]) -> None:
        """Put down what was refused before it became an access, a look or a change. Of unknown callers as `failed`.

        Raises:
            AuditUnavailable: it cannot be put down.
            AuditOverloaded: likewise.
        """
        consumer = str(about.get("consumer", ""))
        if self._admits(error, consumer):
            self._check_held()
            about["outcome"], about["code"] = error.reason, error.code
            await self._durable(self._stream.append(**(about if consumer else _shortened(about))))
        error.is_put_down = True

    async def looked(self, **about: Unpack[Fields]) -> None:
        """Put down that somebody is about to look at the log itself.

        Raises:
            AuditUnavailable: it cannot be put down; nothing may be shown.
            AuditOverloaded: likewise.
        """
        self._check_held()
        about["kind"] = AUDIT_KIND_LOOK
        await self._durable(self._stream.append(**about))

    async def _put(self, access: Access, **more: Unpack[Fields]) -> str:
        sequence = self._append(access, access.subject, **more)
        await self._durable(sequence, access.interface)
        return self._stream.identifier(sequence)

    async def _durable(self, sequence: int, interface: Interface | None = None) -> None:
        if waits_for_disk(self._mode, interface):
            await self._stream.durable(sequence)
            self._check_held()  # a disk that stood still may have kept this until after a revocation

    def _check_held(self) -> None:
        if self.is_held:
            raise AuditUnavailable

    def _admits(self, error: BaseException, consumer: str) -> bool:
        """Whether a refusal is put down by itself; else it is counted."""
        bucket = self._refused.get(consumer)
        if bucket is None:
            bucket = self._refused[consumer] = Strangers(KNOWN_PER_SECOND, KNOWN_BURST)
        if bucket.admits(_reason(error), time.monotonic()):
            return True
        if isinstance(error, BrokerError):
            error.is_put_down = True
        self._telling = self._telling or asyncio.get_running_loop().call_later(_TELL_EVERY_S, self.tell_counted)
        return False

    def tell_counted(self) -> None:
        """Put down how many refusals were not put down one by one, by caller and reason. It is not waited for."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        counted = [(who, reason, count) for who, bucket in self._refused.items() for reason, count in bucket.counted().items()]
        for consumer, reason, count in counted:
            whose = UNKNOWN_CALLERS if not consumer else ""
            try:
                self._stream.append(kind=AUDIT_KIND_TOLD, consumer=consumer, target=whose, outcome=reason, count=count)
            except (AuditUnavailable, AuditOverloaded):
                self._telling = asyncio.get_running_loop().call_later(_TELL_EVERY_S, self.tell_counted)
                return
            self._refused[consumer].told(reason, count)

    def _append(self, access: Access, whom: str, **more: Unpack[Fields]) -> int:
        self._check_held()
        request, authority, interface = access.request, access.authority, access.interface
        known: Fields = {
            "kind": AUDIT_KIND_OUTCOME,
            "method": request.method,
            "consumer": access.consumer,
            "operator": request.operator,
            "device": request.device,
            "interface": interface.id if interface else request.interface,
            "version": interface.version if interface else request.version,
            "purpose": request.purpose,
            "matter": request.matter,
            "case_id": request.case_id,
            "request_id": request.request_id,
            "grant": authority.grant if authority else "",
            "embargo": authority.embargo_class if authority else "",
            "snapshot_version": access.snapshot_version,
            "subject": self._key.subject(whom) if whom else b"",
            "request_digest": self._key.request(access.key) if access.key else b"",
            "took_us": (time.monotonic_ns() - access.began_ns) // 1000,
        }
        known.update(more)
        return self._stream.append(**(known if access.consumer else _shortened(known)))


def _shortened(fields: Fields) -> Fields:
    """What a caller says that nobody knows, so that saying much does not fill the disk."""
    return {name: value[:MOST_SAID] if isinstance(value, str) else value for name, value in fields.items()}  # type: ignore[return-value]


def _reason(error: BaseException) -> str:
    if isinstance(error, BrokerError):
        return error.reason
    return CANCELLED if isinstance(error, asyncio.CancelledError) else INTERNAL


def _shown(access: Access) -> Iterable[str]:
    """What the caller learns something of: the fields of the record, or those that it asserted."""
    if access.request.asserted is not None:
        return sorted(access.request.asserted)
    return access.authority.fields if access.authority else ()


class NoLog:
    """What is not put down at all: `audit.mode = "off"`."""

    async def intended(self, access: Access) -> str:
        """As of `Accesses`."""
        return ""

    async def answered(self, access: Access, answer: Answer) -> str:
        """As of `Accesses`."""
        return ""

    async def found(self, access: Access, subjects: Iterable[str], shown: Iterable[str]) -> str:
        """As of `Accesses`."""
        return ""

    async def failed(self, access: Access, error: BaseException) -> None:
        """As of `Accesses`."""

    async def refused(self, error: BrokerError, **about: Unpack[Fields]) -> None:
        """As of `Accesses`."""

    def check(self) -> None:
        """As of `Accesses`."""
