"""What comes into force is put down before it does: changes of the control plane, snapshots, settings, keys.

What cannot be put down is held back (a snapshot), or takes effect all the same (a key, a setting, a list of revoked
certificates); in both cases nothing leaves until it has been put down, from the core or from a front. So a broken log never
keeps a revocation from those whom it is about, and gives nobody anything that nobody wrote down. What was put down last is
remembered beside the log, so that it stands there once; a core that is killed in between puts it down again, never not at all.

What must not go in here: what a change is (policy/), who is told to hold (serve/).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Unpack

import msgspec
import structlog

from broker.audit.streams import Stream
from broker.errors import AuditOverloaded, AuditUnavailable
from broker.model.change import Change
from broker.v1.audit_pb2 import AUDIT_KIND_CHANGE

if TYPE_CHECKING:
    from broker._native.journal import Fields

FILE = "changes.json"
SNAPSHOT, CONTROL_PLANE = "snapshot", "control-plane"
IN_FORCE, OUT_OF_FORCE, REPLACED, ACCEPTED = "IN_FORCE", "OUT_OF_FORCE", "REPLACED", "ACCEPTED"
_PAGE = 1000
_PATIENCE_S = 0.5  # a disk that takes longer is one that cannot be waited for
_MOST_LATER = 1000

Read = Callable[[int, int], Awaitable[list[Change]]]  # from which number on, and how many at most

log = structlog.get_logger("audit")


class Thing(NamedTuple):
    """Something that is in force, by what tells it from another: a digest, empty where there is none; of which version."""

    digest: bytes
    version: int = 0


class Memory(msgspec.Struct, frozen=True):
    """What was put down last: the change of the control plane, and of each thing that comes into force its digest."""

    number: int = 0
    seal: str = ""
    things: dict[str, str] = {}


class Ledger:
    """Puts changes down in the stream of a core. For one event loop."""

    def __init__(self, stream: Stream, directory: Path) -> None:
        """Read what was put down last."""
        self._stream = stream
        self._file = directory / FILE
        self._ahead = _read(self._file)  # as of what is on its way to the disk
        self._sequence: int | None = None  # of the last record that is
        self._wanted: dict[str, Thing] = {}  # in force, and not put down yet
        self._later: deque[Fields] = deque(maxlen=_MOST_LATER)  # done, and not put down yet
        self._snapshot_waits = self._thing_waits = self.is_held = False
        self._turn = asyncio.Lock()
        self.on_hold: Callable[[bool], None] = lambda _: None  # is told when nothing may leave, and when it may again

    async def put_down(self, read: Read, version: int, digest: bytes | None = None) -> None:
        """Put down what was changed in the control plane since the last time, and the snapshot that is to come into force.

        Raises:
            AuditUnavailable: it cannot be, and the snapshot must not come into force; nothing leaves until one has.
        """
        async with self._turn:
            try:
                await self._catch_up(read, version)
                if digest is not None:
                    self._note_thing(SNAPSHOT, Thing(digest, version))
                await self._settle()
            except (AuditUnavailable, AuditOverloaded, TimeoutError):
                self._snapshot_waits |= digest is not None
                raise AuditUnavailable from None
            except Exception:  # as where the control plane is away just now: it is not known what else was changed
                self._snapshot_waits |= digest is not None
                raise
            finally:
                self._tell()

    def came_into_force(self) -> None:
        """The snapshot that was put down last decides now."""
        self._snapshot_waits = False
        self._tell()

    async def in_force(self, things: Mapping[str, Thing]) -> None:
        """Put down what is coming into force, where it is not as before. Returns in any case; nothing leaves till it is."""
        self._wanted.update(things)
        await self.settle()

    async def operated(self, **about: Unpack[Fields]) -> None:
        """Put down what an operator is about to do. What takes away waits for no disk: it is put down when that is back."""
        about["kind"], about["outcome"], about["wall_ns"] = AUDIT_KIND_CHANGE, ACCEPTED, time.time_ns()
        self._later.append(about)
        await self.settle()

    async def settle(self) -> None:
        """Put down what could not be so far, if it can be now."""
        async with self._turn:
            with contextlib.suppress(AuditUnavailable, AuditOverloaded, TimeoutError):
                await self._settle()
            self._tell()

    async def _catch_up(self, read: Read, version: int) -> None:
        """Put down every change after the last one; all that there are, where the database does not have that one."""
        while True:
            known = self._ahead
            found = await read(known.number, _PAGE)
            if known.number and (not found or found[0].seal != known.seal):
                self._ahead = msgspec.structs.replace(known, number=0, seal="")
                self._note(self._ahead, kind=AUDIT_KIND_CHANGE, target=CONTROL_PLANE, outcome=REPLACED)
                continue
            new = found[1:] if known.number else found
            if not new:
                return
            for change in new:
                self._note_change(change, version)
            await self._settle()

    async def _settle(self) -> None:
        """Append what is to be put down yet, and wait for all that is on its way.

        Raises:
            AuditUnavailable, AuditOverloaded, TimeoutError: the log cannot be written, or not now.
        """
        self._thing_waits |= any(self._is_other(target, thing) for target, thing in self._wanted.items())
        while self._later:
            self._note(self._ahead, **self._later[0])
            self._later.popleft()
        for target in tuple(self._wanted):
            self._note_thing(target, self._wanted[target])
            del self._wanted[target]
        if self._sequence is not None:
            ahead = self._ahead
            async with asyncio.timeout(_PATIENCE_S):
                await self._stream.durable(self._sequence)
            self._sequence = None
            await asyncio.to_thread(_write, self._file, ahead)
        self._thing_waits = False

    def _note(self, then: Memory, **fields: Unpack[Fields]) -> None:
        self._sequence = self._stream.append(**fields)
        self._ahead = then

    def _note_change(self, change: Change, version: int) -> None:
        consumer, _, operator = change.actor.partition("/")
        self._note(
            msgspec.structs.replace(self._ahead, number=change.number, seal=change.seal),
            kind=AUDIT_KIND_CHANGE,
            consumer=consumer,
            operator=operator,
            method=change.method,
            target=change.target,
            outcome=change.outcome,
            grant_version=change.revision,
            snapshot_version=version,
            change=change.number,
        )

    def _note_thing(self, target: str, thing: Thing) -> None:
        if self._is_other(target, thing):
            self._note(
                msgspec.structs.replace(self._ahead, things=self._ahead.things | {target: thing.digest.hex()}),
                kind=AUDIT_KIND_CHANGE,
                target=target,
                outcome=IN_FORCE if thing.digest else OUT_OF_FORCE,
                answer_digest=thing.digest,
                snapshot_version=thing.version,
            )

    def _is_other(self, target: str, thing: Thing) -> bool:
        """Whether it is not what was put down last."""
        return self._ahead.things.get(target) != thing.digest.hex()

    def _tell(self) -> None:
        held = self._snapshot_waits or self._thing_waits
        if held != self.is_held:
            self.is_held = held
            self.on_hold(held)
            if held:
                log.error("a change cannot be put down; nothing leaves until it is")
            else:
                log.warning("the change has been put down; answers leave again")


class NoLedger:
    """What is not put down at all: `audit.mode = "off"`."""

    async def put_down(self, read: Read, version: int, digest: bytes | None = None) -> None:
        """As of `Ledger`."""

    def came_into_force(self) -> None:
        """As of `Ledger`."""

    async def in_force(self, things: Mapping[str, Thing]) -> None:
        """As of `Ledger`."""

    async def operated(self, **about: Unpack[Fields]) -> None:
        """As of `Ledger`."""

    async def settle(self) -> None:
        """As of `Ledger`."""


def _read(file: Path) -> Memory:
    """Return what is remembered; nothing where that cannot be read: then all is put down once more."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory()
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("what was put down last is not known; all of it is put down again", error=type(error).__name__)
        return Memory()


def _write(file: Path, memory: Memory) -> None:
    """Remember. Not synced, and not missed where it cannot be written: what is lost of it is put down again."""
    made = file.with_name(f"{file.name}.new")
    try:
        made.write_bytes(msgspec.json.encode(memory, order="sorted"))
        made.chmod(0o600)
        made.replace(file)
    except OSError as error:
        log.warning("what was put down last cannot be remembered", error=error.strerror)
