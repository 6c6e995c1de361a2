"""Words and counts in memory that several processes map: whole, in their places, and refused where they do not fit.

What must not go in here: what follows from a word (test_front_follow.py) or a count (test_front_counts.py).
"""

from __future__ import annotations

import mmap
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from broker._native.shared import (
    BOARD_BYTES,
    BUCKET_BOUNDS_S,
    NAME_BYTES,
    SLOT_BYTES,
    SUMS_BYTES,
    WORD_NAMES,
    Board,
    Tally,
)
from broker.errors import DirectoryUnusable
from broker.serve.board import SLOTS, NamedCounts, is_alive, open_board, open_tally, snapshot_word, tally_file

GREATEST = (1 << 64) - 1
WRITER = """
import sys
from pathlib import Path
from broker.serve.board import open_board
board = open_board(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(200_000):
    board["trust"] = (number % 2) * 0xFFFF_FFFF_FFFF_FFFF
"""


def tally(slots: int) -> Tally:
    return Tally(bytearray(SUMS_BYTES + slots * SLOT_BYTES))


# --- the board ---------------------------------------------------------------------------------------------------------


def test_every_word_has_a_place_of_its_own() -> None:
    memory = bytearray(BOARD_BYTES)
    board = Board(memory)
    for at, name in enumerate(WORD_NAMES):
        board[name] = GREATEST - at
    assert [board[name] for name in WORD_NAMES] == [GREATEST - at for at in range(len(WORD_NAMES))]
    assert struct.unpack(f"={len(WORD_NAMES)}Q", memory) == tuple(GREATEST - at for at in range(len(WORD_NAMES)))


@pytest.mark.parametrize("value", [-1, GREATEST + 1])
def test_what_does_not_fit_a_word_is_refused_and_changes_nothing(value: int) -> None:
    board = Board(bytearray(BOARD_BYTES))
    board["core"] = 7
    with pytest.raises(OverflowError):
        board["core"] = value
    assert board["core"] == 7


def test_there_is_no_word_of_another_name() -> None:
    board = Board(bytearray(BOARD_BYTES))
    with pytest.raises(ValueError, match="not in"):
        board["nonsense"]
    with pytest.raises(ValueError, match="not in"):
        board["nonsense"] = 1


def test_memory_that_cannot_be_a_board_is_refused() -> None:
    for memory in (bytearray(BOARD_BYTES - 1), memoryview(bytearray(BOARD_BYTES + 8))[1:]):
        with pytest.raises(ValueError, match="must be"):
            Board(memory)
    with pytest.raises(BufferError):
        Board(bytes(BOARD_BYTES))


def test_a_board_keeps_its_memory() -> None:
    memory = bytearray(BOARD_BYTES)
    board = Board(memory)
    with pytest.raises(BufferError):
        memory.clear()
    del board
    memory.clear()


def test_two_processes_see_the_same_words_and_never_half_of_one(tmp_path: Path) -> None:
    board = open_board(tmp_path)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        seen = set()
        while writer.poll() is None:
            seen |= {board["trust"] for _ in range(1000)}
    assert writer.returncode == 0
    assert seen == {0, GREATEST}


# --- tallies -----------------------------------------------------------------------------------------------------------


def test_slots_do_not_touch_one_another() -> None:
    counts = tally(3)
    assert counts.size == 3
    counts.set_name(1, b"n" * NAME_BYTES)
    counts.put(1, GREATEST, 5)
    assert [counts.name(slot) for slot in range(3)] == [b"", b"n" * NAME_BYTES, b""]
    assert [counts.counts(slot) for slot in range(3)] == [(0, 0), (GREATEST, 5), (0, 0)]
    counts.set_name(1, b"short")
    assert counts.name(1) == b"short", "nothing is left of the longer one"
    assert counts.times() == (0, 0, [0] * (len(BUCKET_BOUNDS_S) + 1))


@pytest.mark.parametrize("slot", [-1, 2, 1 << 40])
def test_there_is_no_slot_beyond_the_last(slot: int) -> None:
    counts = tally(2)
    for use in (
        lambda: counts.name(slot),
        lambda: counts.counts(slot),
        lambda: counts.set_name(slot, b"x"),
        lambda: counts.put(slot, 1, 1),
    ):
        with pytest.raises(IndexError):
            use()


@pytest.mark.parametrize("name", [b"", b"x" * (NAME_BYTES + 1)])
def test_a_name_that_does_not_fit_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="a name has"):
        tally(1).set_name(0, name)


@pytest.mark.parametrize("size", [0, SUMS_BYTES - 1, SUMS_BYTES + 1, SUMS_BYTES + SLOT_BYTES - 1])
def test_memory_that_is_no_whole_tally_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="whole slots"):
        Tally(bytearray(size))


# --- the files ---------------------------------------------------------------------------------------------------------


def test_files_are_made_for_their_owner_only_and_keep_what_is_in_them(tmp_path: Path) -> None:
    open_board(tmp_path)["snapshot"] = 42
    counts = NamedCounts(open_tally(tally_file(tmp_path, 3)))
    counts.put(b"a", 1, 2)
    assert open_board(tmp_path)["snapshot"] == 42
    assert list(NamedCounts(open_tally(tally_file(tmp_path, 3))).all()) == [(b"a", 1, 2)]
    for file in (tmp_path / "board", tally_file(tmp_path, 3)):
        assert file.stat().st_mode & 0o777 == 0o600
    assert tally_file(tmp_path, 3).stat().st_blocks * 512 < 1 << 16, "what nobody counts takes no room"


def test_a_file_that_was_cut_short_is_whole_again(tmp_path: Path) -> None:
    (tmp_path / "board").write_bytes(b"\1")
    assert open_board(tmp_path)["snapshot"] == 1
    assert (tmp_path / "board").stat().st_size == BOARD_BYTES


def test_a_directory_that_cannot_be_is_told_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "fronts").write_text("")
    with pytest.raises(DirectoryUnusable, match=r"fronts/0\.tally: cannot be made"):
        open_tally(tally_file(tmp_path, 0))


def test_a_name_has_the_same_slot_each_time_and_after_a_restart(tmp_path: Path) -> None:
    first = NamedCounts(open_tally(tally_file(tmp_path, 0)))
    assert [first.slot(name) for name in (b"a", b"b", b"a")] == [0, 1, 0]
    again = NamedCounts(open_tally(tally_file(tmp_path, 0)))
    assert [again.slot(name) for name in (b"b", b"c", b"a")] == [1, 2, 0]


def test_when_all_slots_are_taken_the_last_is_for_all_others() -> None:
    counts = NamedCounts(tally(3))
    assert [counts.slot(name) for name in (b"a", b"b", b"c", b"d", b"c")] == [0, 1, 2, 2, 2]
    assert [name for name, _, _ in counts.all()] == [b"a", b"b", b"others"]
    assert NamedCounts(tally(SLOTS)).tally.size == SLOTS


def test_words_of_snapshots_differ_when_their_digests_do() -> None:
    assert snapshot_word(bytes(32)) == 0
    assert snapshot_word(b"\xff" * 32) == GREATEST
    assert snapshot_word(bytes(7) + b"\1" + bytes(24)) != snapshot_word(bytes(32))


def test_a_process_is_alive_until_it_has_been_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_alive(process.pid)
    process.kill()
    process.communicate()
    assert not is_alive(process.pid)
    assert not is_alive(0)


def test_a_tally_is_seen_by_who_maps_it_too(tmp_path: Path) -> None:
    counts = NamedCounts(open_tally(tally_file(tmp_path, 0)))
    counts.put(b"name", 0x0102030405060708, 9)
    with tally_file(tmp_path, 0).open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert mapped[SUMS_BYTES : SUMS_BYTES + 16] == struct.pack("=QQ", 0x0102030405060708, 9)
        assert mapped[SUMS_BYTES + 16 :].startswith(b"name\0")
