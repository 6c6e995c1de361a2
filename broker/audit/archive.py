"""Takes closed segments out of a log: copied, proved, read back, and only then removed. And lets go of them after years.

    ARCHIVES/front-0/00000000000000000001/
        00000000000000000001.audit   the segment
        anchor.note                  how the stream stood where it begins, signed (not of the first)
        proof.json                   that its last record is in the log, with the checkpoint that covers it
        checkpoint.vkey              the public key; compare it with one that you have from elsewhere
        README.md                    how to verify it without this software

It may be interrupted anywhere: the segment is removed after its archive was read back and the anchor of the next is
durable, and what was begun is begun anew. What must not go in here: when it is done.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from broker._native import journal_check
from broker._native.journal_check import Walk
from broker.audit import notes, proofs, records
from broker.audit.anchors import Anchor, anchor_file, find_anchor
from broker.audit.archive_readme import README
from broker.audit.layout import (
    HEADER_BYTES,
    HeaderDamaged,
    algorithm_of,
    contents,
    header_of,
    read_header,
    segment_file,
    segments_of,
    streams_of,
)
from broker.audit.notes import Keys, NoteRefused, Signer
from broker.audit.proofs import Proof, StreamTree
from broker.audit.records import RecordId
from broker.errors import AuditRefused, ConfigurationError, DirectoryUnusable

ANCHOR, PROOF, VERIFIER, README_FILE = "anchor.note", "proof.json", "checkpoint.vkey", "README.md"
LEAST_DAYS = 183
_DAY_NS = 86_400 * 1_000_000_000


class Archived(NamedTuple):
    """One segment that is in the archive."""

    stream: str
    segment: int
    first_record: int
    records: int
    batches: int
    last_ns: int  # wall clock of its last batch
    folder: Path


def folder_of(archives: Path, stream: str, segment: int) -> Path:
    """Return where a segment is archived."""
    return archives / stream / f"{segment:020}"


def archived(archives: Path) -> dict[str, dict[int, Path]]:
    """Return the folders of archived segments, by stream and number, in order."""
    found: dict[str, dict[int, Path]] = {}
    for folder in sorted(archives.glob("*/*")):
        if folder.name.isdecimal() and len(folder.name) == 20:
            found.setdefault(folder.parent.name, {})[int(folder.name)] = folder
    return found


class Archiver:
    """Archives segments of one log."""

    def __init__(self, directory: Path, archives: Path, signer: Signer, origin: str) -> None:
        self._directory, self._archives, self._signer, self._origin = directory, archives, signer, origin
        self._keys, self._algorithm = Keys([signer.verifier]), algorithm_of(directory)

    def closed(self, before_ns: int) -> list[tuple[str, int]]:
        """Return what may be archived, in order: segments that another follows, whose successor was begun before a time."""
        found = []
        for name, folder in streams_of(self._directory).items():
            numbers = list(segments_of(folder))
            for number, following in itertools.pairwise(numbers):
                try:
                    if header_of(segment_file(folder, following)).wall_ns >= before_ns:
                        break
                except HeaderDamaged:
                    break
                found.append((name, number))
        return found

    def archive(self, stream: str, segment: int) -> Archived:
        """Archive the first kept segment of a stream, and remove it from the log.

        Raises:
            AuditRefused: it is not the first, not closed, damaged, or no checkpoint covers it; it stays where it is.
            DirectoryUnusable: something cannot be read or written.
        """
        log_folder = self._directory / stream
        if segment != min(segments_of(log_folder), default=0):
            raise AuditRefused(f"audit stream {stream}: segment {segment} is not the first that is kept")
        try:
            begun = self._begin(log_folder, segment)
            ended = self._walk(log_folder, segment, begun)
            made = folder_of(self._archives, stream, segment)
            if not made.exists():
                self._make(made, log_folder, segment, ended)
            told = verify_archive(made, self._keys, self._origin)
            if (told.first_record + told.records, told.batches) != (ended.records, ended.batches - begun.batches):
                raise AuditRefused(f"{made}: is not of the segment that is to be archived")
            self._anchor(log_folder, segment + 1, ended)
            segment_file(log_folder, segment).unlink()
            notes.sync_folder(log_folder)
        except (NoteRefused, ValueError) as error:
            raise AuditRefused(f"audit stream {stream}: segment {segment} cannot be archived: {error}") from error
        except OSError as error:
            raise DirectoryUnusable(
                f"audit stream {stream}: cannot be archived ({error.strerror}: {error.filename})"
            ) from error
        return told

    def _begin(self, folder: Path, segment: int) -> Walk:
        if segment == 1:
            return Walk(self._algorithm)
        return find_anchor(folder, segment, self._algorithm, self._keys)[0].walk(self._algorithm)

    def _walk(self, folder: Path, segment: int, begun: Walk) -> Walk:
        """Check a segment in full up to where the next one says that it ends."""
        following = header_of(segment_file(folder, segment + 1))
        walk = Walk(self._algorithm, begun.batches, begun.records, begun.chain, begun.nodes())
        data = contents(segment_file(folder, segment), 0, following.valid)
        _take_all(walk, data, len(data), following.valid)
        if following.places != (walk.batches, walk.records, walk.chain):
            raise AuditRefused(f"audit stream {folder.name}: segment {segment + 1} does not join segment {segment}")
        return walk

    def _make(self, made: Path, folder: Path, segment: int, ended: Walk) -> None:
        new = made.with_name(f"{made.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True, mode=0o700)
        data = contents(segment_file(folder, segment))
        _write(segment_file(new, segment), data[: records.end_of(folder, segment, len(data))])
        if ended.records > header_of(segment_file(folder, segment)).first_record:
            proof = proofs.prove(self._directory, RecordId(folder.name, ended.records - 1), self._keys, self._origin)
            _write(new / PROOF, proof.to_json().encode())
        if segment > 1:
            _write(new / ANCHOR, find_anchor(folder, segment, self._algorithm, self._keys)[1].encode())
        _write(new / VERIFIER, f"{self._signer.verifier}\n".encode())
        _write(new / README_FILE, README.encode())
        notes.sync_folder(new)
        new.rename(made)
        notes.sync_folder(made.parent)
        notes.sync_folder(self._archives)

    def _anchor(self, folder: Path, segment: int, ended: Walk) -> None:
        """Sign how the stream stands where a segment begins, unless that was done before it was interrupted."""
        file = anchor_file(self._directory, folder.name)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        notes.sync_folder(self._directory)
        made = Anchor(self._origin, folder.name, segment, ended.batches, ended.records, ended.chain, tuple(ended.nodes()))
        note = self._signer.sign(made.text(self._algorithm))
        held, _ = notes.whole(file.read_bytes() if file.exists() else b"")
        if not held.endswith(note.encode()):  # what a power cut left of it goes
            notes.write_anew(file, b"".join([held, notes.SEPARATOR.encode() if held else b"", note.encode()]))


def _write(file: Path, data: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(descriptor)


def _take_all(walk: Walk, data: memoryview | bytes | object, end: int, expected: int) -> None:
    """Check all batches of a segment up to its end. Raises AuditRefused."""
    walk.begin_segment(bytes(data[:HEADER_BYTES]))  # type: ignore[index]
    at, status = HEADER_BYTES, journal_check.ON
    while status == journal_check.ON and at < end:
        at, status = walk.take(data, at, end)
    if at != expected:
        raise AuditRefused(f"batch {walk.batches}: {journal_check.FAULTS.get(status, 'the segment ends before it')}")


def verify_archive(folder: Path, keys: Keys, origin: str | None = None) -> Archived:
    """Check one archived segment by itself: it is whole, begins where an anchor says, and its last batch is in the log.

    Raises:
        AuditRefused: it is damaged, or not what was signed.
        OSError: it cannot be read.
    """
    segment = int(folder.name)
    try:
        data = contents(segment_file(folder, segment))
        header = read_header(data[:HEADER_BYTES])
        stream = header.stream.rstrip(b"\0").decode()
        walk = _begun(folder, stream, segment, header.algorithm, keys)
        if header.places != (walk.batches, walk.records, walk.chain) or header.number != segment:
            raise AuditRefused("it does not begin as its anchor says")
        _take_all(walk, data, len(data), len(data))
        last = journal_check.last_batch(data, HEADER_BYTES, len(data))
        last_ns = int.from_bytes(data[last[0] + 32 : last[0] + 40], "big") if last else header.wall_ns
        if last:
            _check_last(folder, RecordId(stream, walk.records - 1), data[last[0] : last[0] + 120], keys, origin)
    except (HeaderDamaged, NoteRefused, ValueError, FileNotFoundError, AuditRefused) as error:
        raise AuditRefused(f"{folder}: is damaged: {error}") from error
    counts = walk.records - header.first_record, walk.batches - header.first_batch
    return Archived(stream, segment, header.first_record, *counts, last_ns, folder)


def _begun(folder: Path, stream: str, segment: int, algorithm: int, keys: Keys) -> Walk:
    if segment == 1:
        return Walk(algorithm)
    anchor = Anchor.parse(keys.open((folder / ANCHOR).read_text(encoding="utf-8")), algorithm)
    if (anchor.stream, anchor.segment) != (stream, segment):
        raise NoteRefused("its anchor is of another segment")
    return anchor.walk(algorithm)


def _check_last(folder: Path, last: RecordId, batch: bytes, keys: Keys, origin: str | None) -> None:
    proof = _proof(folder)
    proof.check(keys, origin)
    if (proof.id, proof.batch) != (last, batch):
        raise AuditRefused("its proof is not of its last record")


def _proof(folder: Path) -> Proof:
    return Proof.from_json((folder / PROOF).read_text(encoding="utf-8"))


def prove_archived(archives: Path, record_id: RecordId, keys: Keys, origin: str | None = None) -> Proof:
    """Return a proof of a record out of the archive, by the checkpoint that is kept with its segment.

    Raises:
        AuditRefused: it is not there, or what should have it is damaged.
    """
    for segment, folder in archived(archives).get(record_id.stream, {}).items():
        try:
            found = records.find(folder, record_id.sequence)
        except AuditRefused:
            continue
        try:
            proof = _proof(folder)
            walk = _begun(folder, record_id.stream, segment, proof.algorithm, keys)
            data = contents(segment_file(folder, segment))
            hashes = journal_check.header_hashes(data, HEADER_BYTES, len(data), proof.algorithm)
            tree = StreamTree(hashes, proof.algorithm, walk.batches, tuple(walk.nodes()))
            tree.know(proof.in_stream)
            made = proofs.assemble(record_id, found, tree, proof.head, proof.in_log, proof.note, proof.algorithm)
        except (NoteRefused, ValueError, KeyError, OSError) as error:
            raise AuditRefused(f"{folder}: is damaged: {error}") from error
        made.check(keys, origin)
        return made
    raise AuditRefused(f"record {record_id}: is not in the archive")


def expire(archives: Path, keep_days: int, now_ns: int, keys: Keys, done: Callable[[Archived], object]) -> Iterable[Archived]:
    """Remove what was archived and ended so long ago, the oldest of each stream first; `done` is told before each.

    What follows verifies from the anchors, of which none is removed.

    Raises:
        ConfigurationError: it would be kept for less than half a year.
        AuditRefused: an archive is damaged; it and what follows stay.
    """
    if keep_days < LEAST_DAYS:
        raise ConfigurationError(f"audit.retention_days: must be {LEAST_DAYS} or more")
    for left in archives.glob("*/*.going"):
        shutil.rmtree(left)  # it was interrupted there
    removed = []
    for folders in archived(archives).values():
        for folder in folders.values():
            told = verify_archive(folder, keys)
            if told.last_ns >= now_ns - keep_days * _DAY_NS:
                break
            done(told)
            going = folder.with_name(f"{folder.name}.going")
            folder.rename(going)  # so that half of it is never taken for an archive
            shutil.rmtree(going)
            removed.append(told)
    return removed
