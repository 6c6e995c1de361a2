"""Checkpoints are durable before they are told, never shrink, cover what is certain, and are kept by witnesses."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.audit import checkpoints, notes
from broker.audit.checkpoints import Checkpoint, CheckpointFiles
from broker.audit.notes import Keys, NoteRefused, Signer, Verifier
from broker.audit.signer import CheckpointSigner, open_key
from broker.audit.tail import open_tail
from broker.audit.verify import verify
from broker.errors import AuditRefused, AuditRolledBack, ConfigurationError, DirectoryUnusable, SecretMissing
from tests.oracle import audit as oracle
from tests.oracle.audit_notes import opened
from tests.support.audit_log import NAME, AuditLog, StreamLog, small_log


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """Two streams with a batch each, of which nothing was signed."""
    log = AuditLog(tmp_path / "audit")
    for stream in log.streams.values():
        stream.batch([b"first"])
    return log


@contextlib.contextmanager
def signing(log: AuditLog, *held: str) -> Iterator[CheckpointSigner]:
    signer = CheckpointSigner(log.directory, key_of(log), NAME, held)
    try:
        yield signer
    finally:
        signer.close()


def key_of(log: AuditLog) -> Signer:
    return open_key(log.directory, NAME)


def vkey_of(log: AuditLog) -> str:
    return (log.directory / "checkpoint.vkey").read_text()


def good(log: AuditLog, *witnesses: str) -> bool:
    """Whether both verifiers take the log for good."""
    held = [witness.encode() for witness in witnesses]
    ours = verify(log.directory, Keys([key_of(log).verifier]), witnesses=held, origin=NAME)
    assert bool(ours.faults) == bool(oracle.verify(log.directory, [vkey_of(log)], held, NAME)), ours.faults
    return not ours.faults


def settle(log: AuditLog) -> None:
    """Have something follow on every batch, so that all but the last are certain."""
    for stream in log.streams.values():
        stream.batch([b"what follows"])


# --- keys and notes ------------------------------------------------------------------------------------------------------


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    made = open_key(tmp_path, NAME)
    assert stat.S_IMODE((tmp_path / "checkpoint.key").stat().st_mode) == 0o600
    assert open_key(tmp_path, NAME).verifier.short == made.verifier.short
    assert str(Verifier.parse((tmp_path / "checkpoint.vkey").read_text())) == str(made.verifier)
    assert "key" not in repr(made)


def test_keys_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.key").write_text("no key")
    with pytest.raises(SecretMissing):
        open_key(tmp_path, NAME)
    with pytest.raises(ConfigurationError):
        open_key(tmp_path, "a b")
    good_key = str(Verifier.parse(AuditLog(tmp_path / "x").signer.vkey))
    for bad in ("", "a+b", good_key[:-5], good_key.replace("broker", "broke"), good_key + "="):
        with pytest.raises(ConfigurationError):
            Verifier.parse(bad)


def test_a_note_that_we_sign_is_one_that_the_other_verifier_opens(log: AuditLog) -> None:
    signer = key_of(log)
    assert opened(signer.sign("a\nb\n"), [str(signer.verifier)]) == "a\nb\n"
    theirs = log.signer.note("a\nb\n")
    assert Keys([Verifier.parse(log.signer.vkey)]).open(theirs) == "a\nb\n"
    assert Keys([Verifier.parse(log.signer.vkey)]).open(theirs + "— other AAAA".replace("AAAA", theirs.split()[-1]) + "\n")
    with pytest.raises(NoteRefused, match="no key that is trusted"):
        Keys([signer.verifier]).open(theirs)


def test_a_checkpoint_reads_as_it_is_written(tmp_path: Path) -> None:
    log = small_log(tmp_path / "audit")
    keys = Keys([Verifier.parse(log.signer.vkey)])
    read = [one for one, _ in checkpoints.read_all(log.directory, keys, 1, NAME)]
    assert [one.serial for one in read] == [1, 2, 3]
    assert read[-1].text() == log.before
    assert checkpoints.covering(read, "core", 4).serial == 2  # type: ignore[union-attr]


# --- signing -------------------------------------------------------------------------------------------------------------


def test_what_is_certain_is_signed_and_only_when_it_has_changed(log: AuditLog) -> None:
    settle(log)
    with signing(log) as signer:
        first = signer.sign(lambda: 1_790_000_000)
        assert first is not None
        assert first in (log.directory / "checkpoints" / "2026-09-21T14.notes").read_text()
        assert "head core 1 1 " in first  # what nothing follows is not certain, and nobody said that it is
        assert signer.sign() is None
        settle(log)
        for stream in log.streams.values():
            stream.tell()
        second = signer.sign(lambda: 1_790_000_001)
        assert second is not None
        assert "head core 3 3 " in second
        assert "serial 2\n" in second
        assert signer.newest_note == second
    assert good(log, first, second)


def test_a_batch_that_nothing_follows_is_certain_when_its_writer_says_so(log: AuditLog) -> None:
    core = log.streams["core"]
    stream = open_tail(log.directory / "core", 1)
    assert not stream.follow()
    core.tell()
    assert stream.follow()
    assert stream.walk.batches == 1
    core.batch([b"one more"])
    assert not stream.follow()
    core.tell()
    (core.file.parent / "durable").write_bytes(b"\xff" * 12)  # as if damaged
    assert not stream.follow()
    stream.close()


@pytest.mark.parametrize("ends", [False, True])
def test_batches_of_every_size_are_followed(log: AuditLog, *, ends: bool) -> None:
    """Many in what is read at once, one that does not fit in, one that ends where it ends."""
    written, stream = log.streams["core"], open_tail(log.directory / "core", 1)
    for sizes in ([50] * 40, [60_000] * 9, [65_000], [(1 << 17) - 300], *[[900]] * 300, [40_000] * 30, [8]):
        written.batch([bytes([65]) * (size % 65_000 or 1) for size in sizes])
    if ends:
        written.rotate([b"last"])
    stream.follow()
    stream.close()
    assert stream.walk.batches == written.batches - (0 if ends else 1)
    assert stream.walk.chain == written.chain or not ends


def test_what_was_left_behind_is_not_certain_by_being_durable_in_the_next_segment(log: AuditLog) -> None:
    core = log.streams["core"]
    core.tell()
    stream = open_tail(log.directory / "core", 1)
    assert stream.follow()
    valid, without = core.file.stat().st_size, copy.deepcopy(core)
    core.batch([b"of which fdatasync failed"])
    assert not stream.follow()
    without.begin(oracle.FAILED, valid, core.file.stat().st_size - valid)
    without.batch([b"what took its place"])
    without.tell()
    log.streams["core"] = without
    assert stream.follow()
    assert (stream.place.segment, stream.walk.batches, stream.walk.chain) == (2, 2, without.chain)
    stream.close()


def test_a_batch_that_was_left_behind_is_not_signed(log: AuditLog) -> None:
    core = log.streams["core"]
    valid, without = core.file.stat().st_size, copy.deepcopy(core)
    core.batch([b"of which fdatasync failed"])
    left = core.file.stat().st_size - valid
    with signing(log) as signer:
        first = signer.sign()
        assert first is not None
        assert "head core 1 1 " in first
        log.streams["core"] = without
        without.begin(oracle.FAILED, valid, left)
        without.batch([b"what took its place"])
        assert signer.sign() is None  # it is the last, and was there when the file was opened
        assert signer.places["core"].segment == 2
    assert good(log)


def test_rotation_restart_and_a_torn_tail_are_followed(log: AuditLog) -> None:
    core = log.streams["core"]
    with signing(log) as signer:
        signer.sign()
        core.rotate([b"closing"])
        core.batch([b"in the second"])
        valid = core.file.stat().st_size
        with core.file.open("ab") as file:
            file.write(b"BATC and then a power cut")
        signer.sign()
        assert signer.places["core"].segment == 2
        core.begin(oracle.RESTARTED, valid, 25)
        core.batch([b"in the third"])
        signer.sign()
        assert signer.places["core"].segment == 3
    assert good(log)
    with signing(log) as again:  # from where the third segment begins, by what was kept
        core.batch([b"more"])
        again.sign()
        core.batch([b"and more"])
        core.tell()
        again.sign()
    assert good(log)
    assert again.newest_note.count("head core 6 6 ") == 1


def test_kept_places_are_trusted_by_nobody(log: AuditLog) -> None:
    core = log.streams["core"]
    with signing(log) as signer:
        core.rotate([b"closing"])
        settle(log)
        settle(log)
        signer.sign()
    kept = log.directory / "resume" / "core.json"
    kept.write_text("{}")
    with signing(log):
        pass
    held = kept.read_text()
    kept.write_text(held.replace('"nodes": ["', '"nodes": ["00').replace('00"', '"'))
    kept.write_text(held[: held.index('"nodes"')] + '"nodes": ["' + "00" * 32 + '"]}')
    with pytest.raises(AuditRolledBack, match="not what the newest checkpoint has"), signing(log):
        pass


def test_a_stream_that_was_rewritten_and_has_gone_on_is_not_signed_for(log: AuditLog) -> None:
    core = log.streams["core"]
    before, held = copy.deepcopy(core), core.file.read_bytes()
    core.batch([b"as it was"])
    core.tell()
    with signing(log) as signer:
        assert signer.sign() is not None
    core.file.write_bytes(held)
    before.batch([b"as it was not"])
    before.batch([b"and so on"])
    before.tell()
    with pytest.raises(AuditRolledBack, match="not what the newest checkpoint has"), signing(log):
        pass


def test_a_log_that_was_rolled_back_is_not_signed_for(tmp_path: Path, log: AuditLog) -> None:
    settle(log)
    with signing(log) as signer:
        signer.sign()
        shutil.copytree(log.directory, tmp_path / "yesterday")
        settle(log)
        witnessed = signer.sign()
    assert witnessed is not None
    with signing(log, witnessed):
        pass
    shutil.rmtree(log.directory)
    shutil.copytree(tmp_path / "yesterday", log.directory)
    with pytest.raises(AuditRolledBack, match="a witness has checkpoint 2, here is 1"), signing(log, witnessed):
        pass


def test_a_witness_that_has_another_checkpoint_stops_the_signer(log: AuditLog) -> None:
    settle(log)
    with signing(log) as signer:
        first = signer.sign()
        settle(log)
        signer.sign()
    assert first is not None
    with signing(log, first):
        pass
    key = key_of(log)
    keys = Keys([key.verifier])
    newest = checkpoints.find(log.directory, 2, keys, 1, NAME)
    assert newest is not None
    assert checkpoints.find(log.directory, 3, keys, 1, NAME) is None
    other = Checkpoint(NAME, newest.time_ms + 1, 2, newest.previous, newest.heads)
    with pytest.raises(AuditRolledBack, match="another checkpoint 2"), signing(log, key.sign(other.text())):
        pass


def test_a_stream_that_lost_what_was_signed_is_not_signed_for(log: AuditLog) -> None:
    settle(log)
    with signing(log) as signer:
        signer.sign()
    core = log.streams["core"].file
    data = core.read_bytes()
    core.write_bytes(data[: oracle.SEGMENT.size])
    with pytest.raises(AuditRolledBack, match="has 0 whole batches"), signing(log):
        pass
    shutil.rmtree(core.parent)
    with pytest.raises(AuditRolledBack, match="is missing"), signing(log):
        pass


def test_a_segment_that_is_not_whole_stops_the_signer(log: AuditLog) -> None:
    core = log.streams["core"]
    data = bytearray(core.file.read_bytes())
    data[-1] ^= 1
    core.file.write_bytes(data)
    core.begin(oracle.RESTARTED, len(data), 0)
    with signing(log) as signer, pytest.raises(AuditRefused, match="segment 1, batch 0"):
        signer.sign()


def test_a_checkpoint_that_was_not_finished_is_cut_off_and_its_serial_used(log: AuditLog) -> None:
    settle(log)
    with signing(log) as signer:
        signer.sign(lambda: 1_790_000_000)
        file = log.directory / "checkpoints" / "2026-09-21T14.notes"
        whole = file.read_bytes()
        settle(log)
        signer.sign(lambda: 1_790_000_000)
        both = file.read_bytes()
    for size in range(len(whole), len(both)):
        assert notes.whole(both[:size]) == (whole, size - len(whole)), size
    assert notes.whole(both) == (both, 0)
    for size in (len(whole), len(whole) + 1, len(whole) + 3, len(whole) + 4, len(both) - 1):
        file.write_bytes(both[:size])
        files = CheckpointFiles(log.directory, Keys([key_of(log).verifier]), 1, NAME)
        assert (files.cut, files.newest.serial) == (size - len(whole), 1), size  # type: ignore[union-attr]
        assert file.read_bytes() == whole
    file.write_bytes(b"")
    assert CheckpointFiles(log.directory, Keys([key_of(log).verifier]), 1, NAME).newest is None


def test_a_checkpoint_that_cannot_be_made_durable_is_not_told(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: int) -> None:
        raise OSError(5, "Input/output error")

    settle(log)
    with signing(log) as signer:
        signer.sign()
        settle(log)
        real = os.fdatasync
        monkeypatch.setattr(notes.os, "fdatasync", failing)
        with pytest.raises(DirectoryUnusable):
            signer.sign()
        monkeypatch.setattr(
            notes.os, "fdatasync", lambda descriptor: failing(0) if _is_of_notes(descriptor) else real(descriptor)
        )
        settle(log)
        with pytest.raises(DirectoryUnusable, match="made durable"):
            signer.sign()
        monkeypatch.setattr(notes.os, "fdatasync", real)
        settle(log)
        signer.sign()
    serials = [one.serial for one, _ in checkpoints.read_all(log.directory, Keys([key_of(log).verifier]), 1, NAME)]
    assert serials == list(range(1, len(serials) + 1))
    assert good(log)


def _is_of_notes(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".notes"


def test_a_clock_that_goes_back_leaves_checkpoints_in_order(log: AuditLog) -> None:
    settle(log)
    with signing(log) as signer:
        for day in (20, 10, 30):
            signer.sign(lambda day=day: 1_790_000_000 + day * 86_400)  # type: ignore[misc]
            settle(log)
    assert good(log)
    assert len(list((log.directory / "checkpoints").iterdir())) == 2


def test_heads_that_go_back_are_not_added(tmp_path: Path) -> None:
    log = small_log(tmp_path / "audit")
    keys = Keys([Verifier.parse(log.signer.vkey)])
    files = CheckpointFiles(log.directory, keys, 1, NAME)
    newest = files.newest
    assert newest is not None
    shrunk = tuple(head._replace(records=head.records - 1) for head in newest.heads)
    for made in (
        Checkpoint(NAME, newest.time_ms, newest.serial + 1, newest.digest, shrunk),
        Checkpoint(NAME, newest.time_ms, newest.serial + 1, newest.digest, newest.heads[1:]),
        Checkpoint(NAME, newest.time_ms, newest.serial, newest.digest, newest.heads),
        Checkpoint(NAME, newest.time_ms, newest.serial + 1, bytes(32), newest.heads),
    ):
        with pytest.raises(NoteRefused):
            files.add(made, "note")


def test_streams_are_read_in_order_of_the_bytes_of_their_names(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit", ["front-10", "core", "front-9"])
    for stream in log.streams.values():
        assert isinstance(stream, StreamLog)
        stream.batch([b"x"])
    settle(log)
    with signing(log) as signer:
        note = signer.sign()
    assert note is not None
    assert [line.split()[1] for line in note.splitlines() if line.startswith("head")] == ["core", "front-10", "front-9"]
    assert good(log)
