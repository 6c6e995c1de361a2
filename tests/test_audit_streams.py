"""Streams of audit records: what is told is durable, and a stream goes on where it was left, however it was left.

What must not go in here: how records are encoded and written (test_journal.py), disks that fail (test_journal_faults.py),
checkpoints.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import hmac
import shutil
from pathlib import Path

import pytest

from broker._native import journal
from broker.audit import streams
from broker.audit.counts import StreamCounts
from broker.audit.segments import Start, find_start
from broker.audit.streams import Stream, Writing, open_stream, rotate_daily
from broker.audit.subject import SubjectKey, open_subject_key
from broker.errors import AlreadyRunning, AuditRefused, DirectoryUnusable, SecretMissing
from broker.telemetry import metrics
from broker.v1.audit_pb2 import AUDIT_KIND_OUTCOME, AuditRecord
from tests import journal_kit as kit
from tests.support import disk_faults

KEY = SubjectKey(b"k" * 32)
SMALL = Writing(segment_bytes=1 << 14, step_bytes=1 << 12, linger_us=0, retry_ms=5)


def opened(directory: Path, name: str = "core") -> Stream:
    return open_stream(directory, name, KEY, SMALL)


def told(folder: Path) -> list[str]:
    return [AuditRecord.FromString(record).consumer for record in kit.records(folder)]


async def test_a_record_is_on_the_disk_when_its_identifier_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path, "front-3") as stream:
        for number in range(3):
            identifier = await stream.record(kind=AUDIT_KIND_OUTCOME, consumer=f"c{number}")
            assert identifier == f"front-3.{number}"
            assert told(tmp_path / "front-3") == [f"c{i}" for i in range(number + 1)]
    assert kit.fault(tmp_path / "front-3") is None


async def test_a_stream_that_is_open_begins_a_segment_each_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    today = [dt.date(2026, 12, 31)]
    daily = functools.partial(rotate_daily, today=lambda: today[0], pause_s=0.001)
    monkeypatch.setattr(streams, "rotate_daily", daily)
    async with opened(tmp_path) as stream:
        await stream.record(consumer="a")
        await asyncio.sleep(0.02)
        assert stream.facts()["segment"] == 1
        for number, today[0] in enumerate((dt.date(2027, 1, 1), dt.date(2027, 1, 2)), 2):
            async with asyncio.timeout(20):
                while stream.facts()["segment"] < number:  # noqa: ASYNC110 - what is tested has no event for it
                    await asyncio.sleep(0.001)
        await stream.record(consumer="b")
    assert [header[2] for header, _ in kit.segments(tmp_path / "core")] == [1, 2, 2]  # why they were begun
    assert [name for name in told(tmp_path / "core") if name] == ["a", "b"]
    assert kit.fault(tmp_path / "core") is None


async def test_many_wait_at_once_and_those_who_leave_do_no_harm(tmp_path: Path) -> None:
    async with opened(tmp_path) as stream:
        waiting = [asyncio.create_task(stream.record(consumer=f"{n}")) for n in range(1000)]
        await asyncio.sleep(0)
        for task in waiting[::7]:
            task.cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        ends = [stream.append(consumer="x") for _ in range(5)]
        await asyncio.gather(*(stream.durable(sequence) for sequence in reversed(ends)))
        await stream.durable(ends[0])
    kept = [name for name in found if isinstance(name, str)]
    assert len(kept) >= 850
    records = told(tmp_path / "core")
    assert [records[int(name.removeprefix("core."))] for name in kept] == [
        f"{n}" for n, name in enumerate(found) if isinstance(name, str)
    ]


async def test_a_stream_goes_on_where_it_was_closed(tmp_path: Path) -> None:
    for count in range(3):
        async with opened(tmp_path) as stream:
            assert await stream.record(consumer=f"{count}") == f"core.{2 * count}"
    assert told(tmp_path / "core") == ["0", "", "1", "", "2", ""]
    assert [header[2] for header, _ in kit.segments(tmp_path / "core")] == [1, 2, 2]
    assert kit.fault(tmp_path / "core") is None


async def test_a_segment_is_closed_on_request(tmp_path: Path) -> None:
    async with opened(tmp_path) as stream:
        await stream.record(consumer="a")
        stream.rotate()
        await stream.record(consumer="b")
        stream.follow(9)
        await stream.record(consumer="c")
    assert [header[2] for header, _ in kit.segments(tmp_path / "core")] == [1, 2]
    assert [AuditRecord.FromString(record).outcome for record in kit.records(tmp_path / "core")] == [
        "",
        "ROTATED",
        "",
        "",
        "CLOSED",
    ]
    assert [header[8] for header, _ in kit.batches(tmp_path / "core")][-1] == 9
    assert kit.fault(tmp_path / "core") is None


async def test_a_stream_has_one_writer(tmp_path: Path) -> None:
    async with opened(tmp_path), opened(tmp_path, "front-0"):
        with pytest.raises(AlreadyRunning):
            opened(tmp_path)
    async with opened(tmp_path):
        pass


async def test_what_is_written_is_counted(tmp_path: Path) -> None:
    stream = opened(tmp_path, "counted")
    counts = StreamCounts("counted", stream.facts())
    async with stream:
        await asyncio.gather(*(stream.record() for _ in range(10)))
        counts.count(stream.facts())
        assert metrics.audit_open.labels("counted")._value.get() == 1
    counts.count(stream.facts())
    assert metrics.audit_records.labels("counted")._value.get() == 11
    assert 1 < metrics.audit_batches.labels("counted")._value.get() <= 11
    assert metrics.audit_open.labels("counted")._value.get() == 0


def test_a_disk_that_fails_is_told_to_all_who_wait_and_to_nobody_after_it(tmp_path: Path) -> None:
    try:
        faults = disk_faults.build(tmp_path)
    except disk_faults.NoCompiler:
        pytest.skip("there is no C compiler (cc) to build a disk that fails")
    program = """
        import asyncio
        from broker._native import journal
        from broker.errors import AuditOverloaded, AuditUnavailable
        from tests.test_audit_streams import opened
        async def main():
            async with opened(Path(sys.argv[1])) as stream:
                await stream.record(consumer="before")
                disk.disk_fault(FDATASYNC, 0, 1, errno.EIO, 20_000)
                disk.disk_fault(FALLOCATE, 0, 3, errno.ENOSPC, 0)
                found = await asyncio.gather(*(stream.record(consumer="during") for _ in range(9)), return_exceptions=True)
                print(">", [type(error).__name__ for error in found] == ["AuditUnavailable"] * 9)
                refused = 0
                while not stream.is_open:
                    try:
                        await stream.record(consumer="while")
                    except AuditUnavailable as error:
                        refused += (error.code, error.reason) == ("UNAVAILABLE", "AUDIT_UNAVAILABLE")
                    await asyncio.sleep(0.001)
                disk.disk_fault(FDATASYNC, 0, 0, 0, 0)
                print(">", refused > 0, await stream.record(consumer="after"))
                disk.disk_fault(FDATASYNC, 0, 0, 0, 150_000)
                record = journal.encode(consumer="many")
                while stream.facts()["queued"] < 65_536:
                    try:
                        stream._writer.append(record)
                    except journal.Full:
                        pass
                try:
                    stream.append(consumer="one more")
                except AuditOverloaded as error:
                    print(">", error.code)
                disk.disk_fault(FDATASYNC, 0, 0, 0, 0)
        asyncio.run(main())
    """
    said = [line[2:] for line in kit.run_on(faults, program, tmp_path / "audit").splitlines() if line.startswith("> ")]
    assert said == ["True", "True core.10", "RESOURCE_EXHAUSTED"]
    records = [
        AuditRecord.FromString(r).consumer for _, held in kit.batches(tmp_path / "audit/core", checked=False) for r in held
    ]
    assert records[:12] == ["before", *["during"] * 9, "after", "many"]
    assert len(records) > 65_000


# --- streams that were left -------------------------------------------------------------------------------------------


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A stream of three segments whose last batches are small, as a process that was killed leaves it."""
    folder = tmp_path / "left" / "core"
    with kit.writing(folder, segment_bytes=1 << 12, step_bytes=1 << 12) as writer:
        for number in range(22):
            kit.wait_for(writer, writer.append(journal.encode(consumer=f"{number:03}" + "x" * 300)) + 1)
        assert writer.facts()["segments"] == 3
        killed = tmp_path / "killed" / "core"
        shutil.copytree(folder, killed)
    assert len(kit.segments(killed)) == 3
    return killed


def last_segment(folder: Path) -> Path:
    return max(folder.glob("*.audit"))


def copy_of(folder: Path, name: str) -> Path:
    made = folder.parent.parent / name / folder.name
    shutil.copytree(folder, made)
    return made


def go_on(folder: Path) -> Start:
    """Open, write one record, close; returns how it began. All of it must verify."""
    start = find_start(folder, 1)
    with kit.writing(folder) as writer:
        kit.wait_for(writer, writer.append(journal.encode(consumer="after")) + 1)
    assert kit.fault(folder) is None
    assert told(folder)[start.records] == "after"
    return start


def test_what_a_killed_process_left_counts(left: Path) -> None:
    start = go_on(left)
    assert (start.why, start.records, start.left) == (3, 22, 0)
    header, _ = kit.segments(left)[-1]
    assert (header[2], header[6], header[12]) == (3, 22, 0)


def test_a_torn_tail_is_cut_wherever_it_was_torn_and_said_so(left: Path) -> None:
    data, end = last_segment(left).read_bytes(), find_start(left, 1).valid
    begin = data.rindex(b"BATC", 0, end)
    for at in (begin, begin + 1, begin + 3, begin + 4, begin + 60, begin + 123, begin + 124, (begin + end) // 2, end - 1):
        for torn, written in (("cut", data[:at]), ("zeros", data[:at] + bytes(len(data) - at))):
            folder = copy_of(left, f"{at}-{torn}")
            last_segment(folder).write_bytes(written)
            start = go_on(folder)
            assert (start.why, start.records, start.valid, start.left) == (
                3,
                21,
                begin,
                len(written[:at].rstrip(b"\0")) - begin,
            )


def test_a_batch_of_which_any_part_reached_the_disk_is_cut(left: Path) -> None:
    data, end = bytearray(last_segment(left).read_bytes()), find_start(left, 1).valid
    begin = data.rindex(b"BATC", 0, end)
    data[begin : begin + 200] = bytes(200)
    last_segment(left).write_bytes(data)
    start = go_on(left)
    assert (start.records, start.left) == (21, len(bytes(data[begin:]).rstrip(b"\0")))


def test_a_segment_without_a_batch_is_followed(left: Path) -> None:
    data = last_segment(left).read_bytes()
    last_segment(left).write_bytes(data[:256] + bytes(100))
    start = go_on(left)
    assert (start.why, start.valid, start.left) == (3, 256, 0)


def test_damage_that_is_no_torn_tail_is_refused(left: Path) -> None:
    """Else what was tampered with, in what had long been durable, would be recorded as cut."""
    data, end = last_segment(left).read_bytes(), find_start(left, 1).valid
    places = [found for found in range(256, end) if data[found : found + 4] == b"BATC"]
    assert len(places) >= 2
    for at in (places[0] + 30, places[0] + 130, 20, 70):
        folder = copy_of(left, f"spoilt-{at}")
        spoilt = bytearray(data)
        spoilt[at] ^= 1
        last_segment(folder).write_bytes(spoilt)
        with pytest.raises(AuditRefused, match="segment 3"):
            find_start(folder, 1)
    with pytest.raises(AuditRefused, match="hash"):
        find_start(left, 2)
    left.rename(left.with_name("other"))
    with pytest.raises(AuditRefused, match="another"):
        find_start(left.with_name("other"), 1)


def test_bytes_behind_a_closed_segment_are_refused(left: Path) -> None:
    go_on(left)
    with last_segment(left).open("r+b") as file:
        file.seek(find_start(left, 1).valid + 10)
        file.write(b"x")
    with pytest.raises(AuditRefused, match="damaged"):
        find_start(left, 1)


def test_the_tree_is_made_anew_where_it_is_missing_or_wrong(left: Path) -> None:
    start = find_start(left, 1)
    tree = max(left.glob("*.tree"))
    for data in (b"", tree.read_bytes()[:-1], bytes(len(tree.read_bytes())), (left / f"{2:020}.tree").read_bytes()):
        tree.write_bytes(data)
        assert find_start(left, 1) == start
    tree.unlink()
    assert find_start(left, 1) == start
    (left / f"{1:020}.audit").unlink()
    with pytest.raises(AuditRefused, match="tree"):
        find_start(left, 1)


def test_what_is_half_made_goes(left: Path) -> None:
    for name in (f"{4:020}.audit.new", f"{4:020}.tree.new"):
        (left / name).write_bytes(b"x")
    go_on(left)
    assert not list(left.glob("*.new"))


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DirectoryUnusable):
        opened(tmp_path / "file")


# --- subjects ---------------------------------------------------------------------------------------------------------


def test_subjects_and_requests_are_keyed_digests(tmp_path: Path) -> None:
    key = open_subject_key(tmp_path / "audit.key")
    secret = (tmp_path / "audit.key").read_bytes()
    assert (tmp_path / "audit.key").stat().st_mode & 0o777 == 0o600
    assert key.subject("张") == hmac.new(secret, b"subject\0" + "张".encode(), "sha256").digest()
    assert key.request(b"x") == hmac.new(secret, b"request\0x", "sha256").digest()
    assert open_subject_key(tmp_path / "audit.key").identifier() == key.identifier() != SubjectKey(bytes(32)).identifier()
    assert secret.hex() not in repr(key)
    assert str(secret) not in repr(key)
    (tmp_path / "audit.key").write_bytes(b"short")
    with pytest.raises(SecretMissing, match=r"audit\.subject_key_file"):
        open_subject_key(tmp_path / "audit.key")
