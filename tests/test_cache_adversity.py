"""The cache after what must not happen: kill -9, damage, another boot, another format, a directory that cannot be used."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest
from structlog.testing import capture_logs

from broker._native.cachekey import pack_entry
from broker.cache.store import CacheStore
from broker.errors import DirectoryUnusable
from tests.cache_kit import SMALL, Open, body_of, fill, key_of, put, stores

ROOT = Path(__file__).parent.parent


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    with stores(tmp_path) as open_one:
        yield open_one


# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_store_is_kept_within_one_boot(open_store):
    store = open_store()
    put(store, 1)
    store.close()
    assert body_of(open_store().read(key_of(1))) == b"body"


@pytest.mark.parametrize(("first", "second"), [("boot", "other"), ("", "")])
def test_another_or_an_unknown_boot_discards(open_store, first, second):
    store = open_store(boot=first)
    put(store, 1)
    store.close()
    assert open_store(boot=second).stat().entries == 0


def test_another_format_discards(open_store, monkeypatch):
    store = open_store()
    put(store, 1)
    store.close()
    monkeypatch.setattr("broker.cache.environment.FORMAT", 2)
    assert open_store().stat().entries == 0


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "short": lambda data: data[:100],
    "one page": lambda data: data[:4096],
    "zeros": lambda data: bytes(len(data)),
    "random": lambda data: random.Random(1).randbytes(len(data)),
    "last page beyond the map": lambda data: (
        b"".join(data[at : at + 136] + (4096).to_bytes(8, "little") + data[at + 144 : at + 4096] for at in (0, 4096))
        + data[8192:]
    ),
    "all but the meta pages": lambda data: data[:8192] + bytes(len(data) - 8192),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_lmdb_refuses_to_open_is_discarded_with_a_warning(open_store, tmp_path, damage):
    store = open_store()
    put(store, 1)
    store.close()
    data = tmp_path / "cache" / "data.mdb"
    data.write_bytes(DAMAGES[damage](data.read_bytes()))
    with capture_logs() as logs:
        store = open_store()
    assert [line["event"] for line in logs] == ["cache discarded"]
    assert store.read(key_of(1)) is None
    assert put(store, 1)


def test_data_of_the_other_lmdb_is_discarded(open_store, tmp_path):
    open_store().close()
    cache = tmp_path / "cache"
    for name in ("data.mdb", "lock.mdb"):
        (cache / name).unlink()
    lmdb.open(str(cache), lib_version=1).close()
    with capture_logs() as logs:
        assert put(open_store(), 1)
    assert [line["event"] for line in logs] == ["cache discarded"]


def test_a_file_that_was_cut_gives_misses_and_is_discarded_by_the_next_start(open_store, tmp_path):
    store = open_store()
    fill(store, 100)
    store.close()
    data = tmp_path / "cache" / "data.mdb"
    os.truncate(data, 4096 * 8)
    store = open_store()
    assert None in [store.read(key_of(number)) for number in range(100)]
    assert store.failures > 0
    store.close()
    store = open_store()
    assert store.stat().entries == 0
    assert put(store, 1)


def test_one_directory_is_opened_once_a_process(open_store, tmp_path):
    store = open_store()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(RuntimeError, match="open in this process"):
        open_store()
    with pytest.raises(RuntimeError, match="open in this process"):
        CacheStore(tmp_path / "link", SMALL, lambda: "boot")
    put(store, 1)
    store.close()
    store.close()
    assert open_store().stat().entries == 1


@pytest.mark.parametrize("place", ["file", "/proc/nowhere"])
def test_a_directory_that_cannot_be_used_is_said_in_one_line(tmp_path, place):
    directory = tmp_path / place
    if place == "file":
        directory.write_text("in the way")
    with pytest.raises(DirectoryUnusable, match="cannot be used") as caught:
        CacheStore(directory, SMALL)
    assert "\n" not in str(caught.value)


# --- other processes --------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from broker.cache.store import CacheStore
from tests.cache_kit import SMALL, put
first = int(sys.argv[2])
store = CacheStore(Path(sys.argv[1]), SMALL, lambda: "boot")
for number in range(first, first + 10**6):
    put(store, number % 500, number.to_bytes(8, "big") * (1 + number % 200), ends=10**6 + number)
    if number == first:
        print("writing", flush=True)
"""

READER = """
import sys
import lmdb
environment = lmdb.open(sys.argv[1], readonly=True, max_dbs=4, lib_version=0)
transaction = environment.begin()
transaction.get(b"x")
print("reading", flush=True)
sys.stdin.read()
"""


def child(source: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start Python and wait for its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", source, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


@pytest.mark.slow
def test_after_kill_9_every_entry_is_intact_or_absent(open_store, tmp_path):
    draw = random.Random(5)
    kept = 0
    for round_ in range(50):
        process = child(WRITER, str(tmp_path), str(round_ * 1000))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.random() * 0.02)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        store = open_store()
        entries = [entry for number in range(500) if (entry := store.read(key_of(number)))]
        assert store.check() == []
        assert len(entries) == store.stat().entries
        for entry in entries:
            number = int.from_bytes(entry.body[:8], "big")
            assert entry.body == entry.body[:8] * (1 + number % 200)
            assert entry.fresh_until == 10**6 + number
        assert len(entries) >= kept, "kept warm: a killed writer loses nothing that was committed"
        kept = len(entries)
        assert put(store, 499, (499).to_bytes(8, "big") * 100, ends=10**6 + 499)
        store.close()
    assert kept > 50


def test_the_place_of_a_killed_reader_is_freed(open_store, tmp_path):
    store = open_store()
    put(store, 1)
    process = child(READER, str(tmp_path / "cache"))
    assert store.check_readers() == 0
    process.kill()
    process.wait()
    assert store.check_readers() == 1


FLIPPED = """
import sys
from pathlib import Path
from broker.cache.store import CacheStore
from tests.cache_kit import SMALL, body_of, key_of
from tests.test_cache_adversity import flipped_body
store = CacheStore(Path(sys.argv[1]), SMALL, lambda: "boot")
bodies = [body_of(store.read(key_of(number))) for number in range(300)]
assert all(body in (None, flipped_body(number)) for number, body in enumerate(bodies)), "a wrong answer"
print(bodies.count(None), "misses", flush=True)
"""


def flipped_body(number: int) -> bytes:
    return random.Random(-1 - number).randbytes(number % 50 * 100)


def flip(data: bytearray, start: int, size: int, draw: random.Random) -> None:
    bit = draw.randrange(size * 8)
    data[start + bit // 8] ^= 1 << bit % 8


def read_in_a_child(place: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", FLIPPED, str(place)], cwd=ROOT, capture_output=True, check=False)


def test_a_flipped_bit_in_an_entry_is_a_miss(open_store, tmp_path):
    store = open_store()
    for number in range(300):
        put(store, number, flipped_body(number))
    stored = {n: pack_entry(key_of(n), 0, 0, 1000, 1000, 1000, flipped_body(n)) for n in range(300)}
    store.close()
    path = tmp_path / "cache" / "data.mdb"
    data = bytearray(path.read_bytes())
    draw = random.Random(3)
    for entry in draw.sample(list(stored.values()), 100):
        # Writing copies pages, so the file holds old copies too: damage all of them.
        at = data.find(entry)
        while at >= 0:
            flip(data, at, len(entry), draw)
            at = data.find(entry, at + len(entry))
    path.write_bytes(data)
    result = read_in_a_child(tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(b"100 misses\n")


@pytest.mark.slow
@pytest.mark.parametrize("flips", [10, 100, 1000])
def test_flipped_bits_anywhere_never_give_a_wrong_answer(open_store, tmp_path, flips):
    """LMDB trusts its own pages, so damage to them may end the process; what is answered must still be right."""
    store = open_store()
    for number in range(300):
        put(store, number, flipped_body(number))
    store.close()
    path = tmp_path / "cache" / "data.mdb"
    good = path.read_bytes()
    used = len(good.rstrip(b"\0"))
    draw = random.Random(flips)
    answered = 0
    for _ in range(10):
        data = bytearray(good)
        for _ in range(flips):
            flip(data, 0, used, draw)
        path.write_bytes(data)
        (tmp_path / "cache" / "generation").write_text("format 1\nboot boot\n")
        result = read_in_a_child(tmp_path)
        assert b"a wrong answer" not in result.stderr
        assert result.returncode in {0, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT}, result.stderr
        answered += result.returncode == 0
    assert answered > 5
