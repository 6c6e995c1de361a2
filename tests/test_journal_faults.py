"""The writer of a stream on a disk that fails as it is told to (tests/support/disk_faults.c): each in a process of its own.

What must hold, whatever fails: what was said to be durable is there once, nobody is told so of anything else, a file that
failed is not written or synced again, and the stream that is left verifies. What must not go in here: power cuts
(test_audit_power.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import journal_kit as kit
from tests.support import disk_faults

FAULTS = {
    "no space to write": "disk.disk_fault(PWRITE, 3, 1, errno.ENOSPC, 0)",
    "an error of writing": "disk.disk_fault(PWRITE, 3, 1, errno.EIO, 0)",
    "a quota": "disk.disk_fault(PWRITE, 3, 2, errno.EDQUOT, 0)",
    "nothing is written": "disk.disk_fault(PWRITE, 3, 1, errno.EROFS, 0)",
    "an error of syncing": "disk.disk_fault(FDATASYNC, 3, 1, errno.EIO, 0)",
    "a sync that is interrupted": "disk.disk_fault(FDATASYNC, 3, 1, errno.EINTR, 0)",
    "errors of syncing, one after the other": "disk.disk_fault(FDATASYNC, 3, 6, errno.EIO, 0)",
    "no room to reserve": "disk.disk_fault(FALLOCATE, 1, 5, errno.ENOSPC, 0)",
    "a folder that cannot be synced": (
        "disk.disk_fault(FDATASYNC, 3, 1, errno.EIO, 0); disk.disk_fault(FSYNC, 0, 3, errno.EIO, 0)"
    ),
}
HARMLESS = {
    "short writes": "disk.disk_fault(PWRITE, 3, 10, SHORT, 0)",
    "interrupted writes": "disk.disk_fault(PWRITE, 3, 10, errno.EINTR, 0)",
    "interrupted reserving": "disk.disk_fault(FALLOCATE, 1, 3, errno.EINTR, 0)",
    "slow syncs": "disk.disk_fault(FDATASYNC, 0, 0, 0, 2000)",
}
# Appends records that say their number, and waits for each; one that is refused is told again. Writes the sequences that it was
# told are durable, by what was in them, and what it was refused.
APPEND = """
    from broker._native import journal
    told, refused = [], 0
    with kit.writing(Path(sys.argv[1]), segment_bytes=1 << 14, step_bytes=1 << 12) as writer:
        {fault}
        while len(told) < 60:
            record = b"%05d" % len(told) + bytes(400)
            failures = writer.facts()["failures"]
            try:
                sequence = writer.append(record)
            except journal.Unavailable:
                refused += 1
                kit.os.eventfd_read(writer.event) if kit.select(writer.event) else None
                continue
            while writer.durable <= sequence and writer.facts()["failures"] == failures:
                kit.select(writer.event) and kit.os.eventfd_read(writer.event)
            if writer.durable > sequence:
                told.append(sequence)
            else:
                refused += 1
        failures = writer.facts()["failures"]
    print(failures, refused, disk.disk_touched(), *told)
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return disk_faults.build(tmp_path_factory.mktemp("faults"))
    except disk_faults.NoCompiler:
        pytest.skip("there is no C compiler (cc) to build a disk that fails")


def append(faults: Path, folder: Path, fault: str) -> tuple[int, int]:
    """Run the program; returns failures of the log and refusals, once all that must hold was seen to."""
    failures, refused, touched, *told = map(int, kit.run_on(faults, APPEND.format(fault=fault), folder).split())
    assert touched == 0, "a file that failed was used again"
    held = kit.records(folder)
    assert [held[sequence] for sequence in told] == [b"%05d" % number + bytes(400) for number in range(60)]
    assert len(set(told)) == 60
    assert kit.fault(folder) is None
    return failures, refused


@pytest.mark.parametrize("what", FAULTS)
def test_a_disk_that_fails_ends_the_segment_and_nothing_is_told_that_is_not_there(
    faults: Path, tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "core"
    failures, refused = append(faults, folder, FAULTS[what])
    assert failures >= 1
    assert refused >= 1
    headers = [header for header, _ in kit.segments(folder)]
    assert any(header[2] == 4 for header in headers), "the next segment says that the one before failed"


@pytest.mark.parametrize("what", HARMLESS)
def test_what_is_no_failure_is_none(faults: Path, tmp_path: Path, what: str) -> None:
    assert append(faults, tmp_path / "core", HARMLESS[what]) == (0, 0)
    assert {header[2] for header, _ in kit.segments(tmp_path / "core")} <= {1, 2}


def test_what_was_not_durable_is_written_again_under_its_numbers(faults: Path, tmp_path: Path) -> None:
    folder = tmp_path / "core"
    program = """
        with kit.writing(Path(sys.argv[1])) as writer:
            kit.wait_for(writer, writer.append(b"before") + 1)
            disk.disk_fault(FDATASYNC, 0, 1, errno.EIO, 0)
            writer.append(b"undecided")
            kit.wait_for(writer, 2)
            facts = writer.facts()
            print(facts["failures"], facts["undecided"], facts["error"] == errno.EIO)
    """
    assert kit.run_on(faults, program, folder).split() == ["1", "2", "True"]
    assert kit.records(folder)[:2] == [b"before", b"undecided"]
    assert kit.fault(folder) is None
    _, second = (header for header, _ in kit.segments(folder))
    assert (second[2], second[5], second[6]) == (4, 1, 1)
    left = second[12]
    assert left == 124 + 4 + len(b"undecided")
    data = (folder / f"{1:020}.audit").read_bytes()
    assert kit.oracle.is_batch(data, second[11]), "it did reach the file, and yet does not count there"


def test_a_log_that_cannot_be_begun_takes_nothing_until_it_can(faults: Path, tmp_path: Path) -> None:
    program = """
        from broker._native import journal
        disk.disk_fault(FALLOCATE, 0, ALWAYS, errno.ENOSPC, 0)
        with kit.writing(Path(sys.argv[1])) as writer:
            assert writer.state == journal.FAILED
            for _ in range(3):
                kit.os.eventfd_read(writer.event) if kit.select(writer.event) else None
                try:
                    writer.append(b"x")
                except journal.Unavailable:
                    print("refused", writer.durable)
            assert not list(Path(sys.argv[1]).glob("*.audit*")), "a try leaves nothing behind"
            disk.disk_fault(FALLOCATE, 0, 0, 0, 0)
            while writer.state != journal.OPEN:
                kit.select(writer.event) and kit.os.eventfd_read(writer.event)
            kit.wait_for(writer, writer.append(b"x") + 1)
            print(writer.durable)
    """
    assert kit.run_on(faults, program, tmp_path / "core").split() == ["refused", "0"] * 3 + ["1"]
    assert [header[2] for header, _ in kit.segments(tmp_path / "core")] == [1]


def test_closing_a_log_that_cannot_be_written_ends(faults: Path, tmp_path: Path) -> None:
    program = """
        with kit.writing(Path(sys.argv[1]), retry_ms=1000) as writer:
            kit.wait_for(writer, writer.append(b"before") + 1)
            disk.disk_fault(FDATASYNC, 0, ALWAYS, errno.EIO, 0)
            writer.append(b"lost")
            writer.close()
            print(writer.facts()["durable"], writer.facts()["queued"])
    """
    durable, queued = kit.run_on(faults, program, tmp_path / "core").split()
    assert durable == "1"
    assert queued in ("1", "2"), "that it was closed may be queued too"
    with kit.writing(tmp_path / "core") as writer:
        assert 1 <= writer.durable <= 3, "what was never told may be there, or not"
    assert kit.fault(tmp_path / "core") is None


def test_a_disk_that_is_too_slow_is_told_of_and_takes_no_more_memory(faults: Path, tmp_path: Path) -> None:
    program = """
        from broker._native import journal
        with kit.writing(Path(sys.argv[1])) as writer:
            taken = [0, 0]
            for kind, record in enumerate((b"x", bytes(65_536))):
                disk.disk_fault(FDATASYNC, 0, 0, 0, 150_000)
                try:
                    while True:
                        writer.append(record)
                        taken[kind] += 1
                except journal.Full:
                    pass
                disk.disk_fault(FDATASYNC, 0, 0, 0, 0)
                kit.wait_for(writer, writer.facts()["appended"])
            print(*taken)
    """
    small, large = map(int, kit.run_on(faults, program, tmp_path / "core").split())
    assert 65_536 <= small <= 65_536 + 2 * 1024
    assert 1000 <= large <= 1024 + 2 * 64
