"""Signs checkpoints over all streams of a log, out of their files alone: durable first, then told to witnesses.

The owner calls `sign` at most a second apart, in a thread of its own: it reads, hashes and waits for the disk. What must not go
in here: when it is called, and what a witness is (witnesses.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from broker.audit import checkpoints
from broker.audit.anchors import anchored_walk
from broker.audit.checkpoints import Checkpoint, CheckpointFiles, Head
from broker.audit.layout import KEY_FILE, NO_HASH, VERIFIER_FILE, algorithm_of, streams_of
from broker.audit.notes import Keys, NoteRefused, Signer, open_signer, write_anew
from broker.audit.tail import ALL, Place, StreamTail, keep, open_tail
from broker.errors import AuditRefused, AuditRolledBack, DirectoryUnusable

RESUME = "resume"

log = structlog.get_logger("audit")


class CheckpointSigner:
    """The one who signs for a log."""

    def __init__(self, directory: Path, signer: Signer, origin: str, held: Iterable[str] = ()) -> None:
        """Read what was signed before, and what witnesses hold of it (`held`, notes).

        Raises:
            AuditRolledBack: the log or its checkpoints have less than was signed, or a witness has another checkpoint.
            AuditRefused: checkpoints, or segments that are read on, are damaged.
            DirectoryUnusable: files cannot be read or written.
        """
        self._directory, self._signer, self._origin = directory, signer, origin
        self._keys = Keys([signer.verifier])
        self._tails: dict[str, StreamTail] = {}
        self._segments_begun: dict[str, int] = {}
        self._algorithm = algorithm_of(directory)
        self._files, self._is_sure = self._open_files(), True
        try:
            (directory / RESUME).mkdir(mode=0o700, exist_ok=True)
            self._compare(held)
            self._catch_up()
        except OSError as error:
            raise DirectoryUnusable(f"{directory}: cannot be used ({error.strerror})") from error

    def sign(self, clock: Callable[[], float] = time.time) -> str | None:
        """Return the note of a new checkpoint, which is durable; None if nothing has changed.

        Raises:
            AuditRefused: a stream is damaged; nothing may be signed.
            DirectoryUnusable: the checkpoint cannot be made durable.
        """
        if not self._is_sure:  # the last one may be there or not: that serial may be taken
            self._files, self._is_sure = self._open_files(), True
        newest = self._files.newest
        if newest is None:
            self._algorithm = algorithm_of(self._directory)
        try:
            heads = self._heads()
        except NoteRefused as error:
            raise AuditRefused(f"an anchor is damaged: {error}") from error
        except OSError as error:
            raise DirectoryUnusable(f"a stream cannot be read ({error.strerror})") from error
        if newest is not None and newest.heads == heads:
            return None
        serial, previous = (newest.serial + 1, newest.digest) if newest else (1, NO_HASH)
        made = Checkpoint(self._origin, int(clock() * 1000), serial, previous, heads, self._algorithm)
        note = self._signer.sign(made.text())
        try:
            self._files.add(made, note)
        except OSError as error:
            self._is_sure = False
            raise DirectoryUnusable(f"a checkpoint cannot be made durable ({error.strerror})") from error
        return note

    @property
    def newest_note(self) -> str:
        """The newest checkpoint as it was signed; "" before the first."""
        return self._files.newest_note

    @property
    def verifier(self) -> str:
        """The public half of the key, as `checkpoint.vkey` has it."""
        return str(self._signer.verifier)

    @property
    def serial(self) -> int:
        """Number of the newest checkpoint; 0 before the first."""
        return self._files.newest.serial if self._files.newest else 0

    @property
    def places(self) -> dict[str, Place]:
        """Up to where each stream was read, and is certain."""
        return {name: tail.place for name, tail in self._tails.items()}

    def close(self) -> None:
        """Let go of the files."""
        for tail in self._tails.values():
            tail.close()

    def _open_files(self) -> CheckpointFiles:
        try:
            files = CheckpointFiles(self._directory, self._keys, self._algorithm, self._origin)
        except NoteRefused as error:
            raise AuditRefused(f"the newest file of checkpoints is damaged: {error}; compare it with a witness") from error
        if files.cut:
            log.warning("a checkpoint that was not finished was cut off", bytes=files.cut)
        return files

    def _heads(self) -> tuple[Head, ...]:
        """Read all streams on; none has less than in the newest checkpoint."""
        before = self._files.newest.by_stream if self._files.newest else {}
        for name in streams_of(self._directory):
            self._follow(name, before.get(name))
        return tuple(
            _head(name, tail, before.get(name)) for name, tail in sorted(self._tails.items(), key=lambda item: item[0].encode())
        )

    def _follow(self, name: str, before: Head | None, most: int = ALL) -> None:
        resume = self._directory / RESUME / f"{name}.json"
        tail = self._tails.get(name)
        if tail is None:
            tail = self._tails[name] = self._open_tail(self._directory / name, resume, most)
        tail.follow(before.batches if before else 0, most)
        if self._segments_begun.get(name) != tail.place.segment:
            keep(tail, resume)
            self._segments_begun[name] = tail.place.segment

    def _open_tail(self, folder: Path, resume: Path, most: int) -> StreamTail:
        """Follow a stream from where it was left, but not from beyond what is to be compared."""
        walk = anchored_walk(folder, self._algorithm, self._keys)
        tail = open_tail(folder, self._algorithm, resume, walk)
        return open_tail(folder, self._algorithm, None, walk) if tail.walk.batches > most else tail

    def _compare(self, held: Iterable[str]) -> None:
        """Compare our checkpoints with those that witnesses hold. Raises AuditRolledBack, AuditRefused."""
        try:
            kept = [checkpoints.read_one(note, self._keys, self._algorithm, self._origin) for note in held]
        except NoteRefused as error:
            raise AuditRolledBack(f"a witness has what is no checkpoint of this log ({error})") from error
        try:
            newest = max(kept, key=lambda one: one.serial, default=None)
            own = self._files.newest
            if newest is not None and (own is None or own.serial < newest.serial):
                raise AuditRolledBack(f"a witness has checkpoint {newest.serial}, here is {own.serial if own else 'none'}")
            for one in kept:
                if (
                    one != own
                    and checkpoints.find(self._directory, one.serial, self._keys, self._algorithm, self._origin) != one
                ):
                    raise AuditRolledBack(f"a witness has another checkpoint {one.serial} than is here, or here is none")
        except NoteRefused as error:
            raise AuditRefused(f"a checkpoint is damaged: {error}; compare it with a witness") from error

    def _catch_up(self) -> None:
        """Read all streams on to what the newest checkpoint has of them; it must be there, and the same."""
        newest = self._files.newest
        for head in newest.heads if newest else ():
            if not (self._directory / head.stream).is_dir():
                raise AuditRolledBack(f"audit stream {head.stream}: is missing, and checkpoint {newest.serial} has it")  # type: ignore[union-attr]
            self._follow(head.stream, head, head.batches)
            self._check(head)

    def _check(self, head: Head) -> None:
        tail = self._tails[head.stream]
        if tail.walk.batches < head.batches:
            raise AuditRolledBack(
                f"audit stream {head.stream}: has {tail.walk.batches} whole batches, and a checkpoint has {head.batches}"
            )
        if tail.walk.batches == head.batches and _head(head.stream, tail, None) != head:
            raise AuditRolledBack(f"audit stream {head.stream}: is not what the newest checkpoint has of it")


def _head(name: str, tail: StreamTail, before: Head | None) -> Head:
    """A stream as it is; as it was signed where what is certain by its files alone is less than that."""
    if before is not None and tail.walk.batches < before.batches:
        return before
    return Head(name, tail.walk.records, tail.walk.batches, tail.walk.chain, tail.walk.root())


def open_key(directory: Path, name: str) -> Signer:
    """Return the key of a log, made where there is none; its public half is written beside it, for those who verify.

    Raises:
        ConfigurationError, DirectoryUnusable, SecretMissing: as `open_signer`.
    """
    signer, file = open_signer(directory / KEY_FILE, name), directory / VERIFIER_FILE
    told = f"{signer.verifier}\n".encode()
    try:
        if not file.exists() or file.read_bytes() != told:  # else it stays, on a full disk too
            write_anew(file, told)
    except OSError as error:
        raise DirectoryUnusable(f"{file}: cannot be written ({error.strerror})") from error
    return signer
