"""The cache against a dict, in a map that is always full, and after kill -9, damage, another boot and another format."""

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
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from structlog.testing import capture_logs

from broker._native.cachekey import Entry, pack_entry
from broker.cache.store import BATCH, CacheStore, Tag, Tags
from broker.config import Cache
from broker.errors import BrokerError, DirectoryUnusable

SMALL = Cache(map_size_mib=4)
TINY = Cache(map_size_mib=1)
ROOT = Path(__file__).parent.parent

Open = Callable[..., CacheStore]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    """Opens stores on one directory; at the end every entry must have exactly its rows."""
    opened: list[CacheStore] = []

    def open_one(settings: Cache = SMALL, boot: str = "boot") -> CacheStore:
        opened.append(CacheStore(tmp_path, settings, lambda: boot))
        return opened[-1]

    yield open_one
    for store in opened:
        with contextlib.suppress(lmdb.Error):  # closed by the test
            assert store.check() == []
        store.close()


def key_of(number: int) -> bytes:
    return random.Random(number).randbytes(32)


def tags(interface: str = "person", provider: str = "police", subject: str = "subject", question: bytes = b"q") -> Tags:
    return Tags(interface=interface, provider=provider, subject=subject, question=question)


def put(store: CacheStore, number: int, body: bytes = b"body", ends: int = 1000, under: Tags | None = None) -> bool:
    entry = pack_entry(key_of(number), 0, 0, ends, ends, ends, body)
    return store.write(key_of(number), entry, ends_at_ms=ends, tags=under or tags(question=key_of(number)))


def body_of(entry: Entry | None) -> bytes | None:
    return None if entry is None else entry.body


# --- what is written can be read --------------------------------------------------------------------------------------


def test_an_entry_is_read_as_it_was_written(open_store):
    store = open_store()
    assert store.read(key_of(1)) is None
    assert store.write(key_of(1), pack_entry(key_of(1), 1, 10, 20, 30, 25, b"body"), ends_at_ms=30, tags=tags())
    entry = store.read(key_of(1))
    assert entry is not None
    assert (entry.flags, entry.stored_at, entry.fresh_until, entry.revalidate_until, entry.error_until) == (1, 10, 20, 30, 25)
    assert entry.body == b"body"
    assert store.stat().entries == 1
    assert store.stat().map_bytes == 4 << 20


def test_an_entry_that_is_written_again_leaves_nothing_of_the_old_one(open_store):
    store = open_store()
    put(store, 1, b"old", ends=50, under=tags(subject="old"))
    put(store, 1, b"new", ends=500, under=tags(subject="new"))
    assert body_of(store.read(key_of(1))) == b"new"
    assert store.check() == []
    assert store.purge(Tag.SUBJECT, "old") == 0
    assert store.sweep(now_ms=100) == 0
    assert store.purge(Tag.SUBJECT, "new") == 1


def test_what_is_not_an_entry_is_a_miss_and_is_counted(open_store, tmp_path):
    store = open_store()
    put(store, 1)
    store.write(key_of(2), pack_entry(key_of(1), 0, 1, 2, 3, 4, b"of another key"), ends_at_ms=4, tags=tags())
    assert store.read(key_of(2)) is None
    assert store.damaged == 1
    assert store.check() == [f"{key_of(2)[:4].hex()}: damaged"]
    store.clear()


@pytest.mark.parametrize("key", [b"", b"short", bytes(33)])
def test_a_key_of_another_size_is_a_mistake_of_the_caller(open_store, key):
    with pytest.raises(ValueError, match="key"):
        open_store().write(key, b"", ends_at_ms=1, tags=tags())


def test_names_are_not_stored_in_clear(open_store, tmp_path):
    store = open_store()
    put(store, 1, b"nothing about anyone", under=tags("interface-name", "provider-name", "510101199001011234"))
    store.close()
    stored = (tmp_path / "cache" / "data.mdb").read_bytes()
    assert b"nothing about anyone" in stored
    for name in (b"interface-name", b"provider-name", b"510101199001011234"):
        assert name not in stored


def test_only_the_owner_can_read_the_files(open_store, tmp_path):
    open_store()
    modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "cache").iterdir()}
    assert modes.keys() == {"data.mdb", "lock.mdb", "generation"}
    assert modes["data.mdb"] == modes["lock.mdb"] == 0
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


# --- purge ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "name", "gone"),
    [
        (Tag.INTERFACE, "i1", {1, 2}),
        (Tag.PROVIDER, "p1", {1, 2, 3}),
        (Tag.SUBJECT, "s1", {1, 3}),
        (Tag.QUESTION, b"q2", {2, 4}),
        (Tag.SUBJECT, "p1", set()),  # a name of another kind
    ],
)
def test_a_purge_removes_what_is_under_its_tag_and_nothing_else(open_store, tag, name, gone):
    store = open_store()
    put(store, 1, under=tags("i1", "p1", "s1", b"q1"))
    put(store, 2, under=tags("i1", "p1", "s2", b"q2"))
    put(store, 3, under=tags("i2", "p1", "s1", b"q3"))
    put(store, 4, under=tags("i2", "p2", "s2", b"q2"))
    assert store.purge(tag, name) == len(gone)
    assert {number for number in range(1, 5) if store.read(key_of(number)) is None} == gone
    assert store.check() == []


def test_a_purge_larger_than_a_batch_is_complete(open_store):
    store = open_store(Cache(map_size_mib=16))
    count = BATCH * 2 + 1
    for number in range(count):
        put(store, number)
    put(store, count, under=tags(provider="other"))
    assert store.purge(Tag.PROVIDER, "police") == count
    assert store.stat().entries == 1
    assert store.check() == []


def test_a_purge_in_a_full_map_is_complete(open_store):
    store = open_store(TINY)
    fill(store, 2000)
    entries = store.stat().entries
    assert store.purge(Tag.PROVIDER, "police") >= entries
    assert store.stat().entries == 0


def test_clear_removes_everything_even_in_a_full_map(open_store):
    store = open_store(TINY)
    fill(store, 2000)
    entries = store.stat().entries
    assert store.clear() == entries
    assert store.stat().entries == 0
    assert store.check() == []
    assert put(store, 1)


# --- room -------------------------------------------------------------------------------------------------------------


def fill(store: CacheStore, count: int, seed: int = 0) -> None:
    draw = random.Random(seed)
    for number in range(count):
        assert put(store, number, draw.randbytes(draw.choice([50, 500, 1500, 4000])), ends=draw.randrange(10_000))


@pytest.mark.parametrize("seed", range(3))
def test_a_tiny_map_takes_writes_for_ever_without_sweeping(open_store, seed):
    """Every write evicts for itself when it must; what was just written can be read, what survived is intact."""
    store = open_store(TINY)
    draw = random.Random(seed)
    bodies: dict[int, bytes] = {}
    for number in range(3000):
        bodies[number] = draw.randbytes(draw.choice([50, 500, 1500, 4000, 20_000]))
        assert put(store, number, bodies[number], ends=draw.randrange(10_000))
        assert body_of(store.read(key_of(number))) == bodies[number]
    alive = [number for number in bodies if store.read(key_of(number)) is not None]
    assert store.check() == []
    assert 0 < len(alive) < 3000
    assert len(alive) == store.stat().entries
    assert all(body_of(store.read(key_of(number))) == bodies[number] for number in alive)
    assert store.evicted > 0
    assert store.unwritten == store.failures == store.damaged == 0


def test_sweeping_brings_a_full_map_under_its_ratio(open_store):
    store = open_store(Cache(map_size_mib=1, fill_ratio=0.5))
    fill(store, 1500)
    assert store.stat().used_bytes > 1 << 19
    for _ in range(20):
        store.sweep(now_ms=0)
    assert 0 < store.stat().used_bytes <= 1 << 19
    assert store.sweep(now_ms=0) == 0
    assert store.check() == []


def test_a_sweep_removes_what_has_ended_and_keeps_the_rest(open_store):
    store = open_store()
    for ends in (0, 99, 100, 101, 2**64 - 1):
        put(store, ends, ends=ends)
    assert store.sweep(now_ms=100) == 3
    assert [ends for ends in (0, 99, 100, 101, 2**64 - 1) if store.read(key_of(ends))] == [101, 2**64 - 1]
    assert (store.ended, store.evicted) == (3, 0)


def test_eviction_takes_what_ends_soonest(open_store):
    store = open_store(Cache(map_size_mib=1, fill_ratio=0.3))
    for number in range(500):
        assert put(store, number, bytes(1000), ends=10_000 + number)
    removed = store.sweep(now_ms=0)
    assert removed == store.evicted > 0
    assert [store.read(key_of(number)) is None for number in range(500)] == [number < removed for number in range(500)]


def test_a_sweep_is_bounded(open_store):
    store = open_store()
    for number in range(BATCH + 10):
        put(store, number, ends=1)
    assert store.sweep(now_ms=5) == BATCH
    assert store.sweep(now_ms=5) == 10
    assert store.stat().entries == 0


def test_an_entry_larger_than_the_map_is_not_kept_and_hurts_nobody(open_store):
    store = open_store(TINY)
    put(store, 1, ends=10**9)
    assert put(store, 2, bytes(2 << 20)) is False
    assert store.unwritten == 1
    assert store.read(key_of(2)) is None
    assert store.failures == 0
    assert put(store, 3)


def test_a_reader_that_stays_costs_writes_but_no_errors(open_store):
    """A read transaction keeps every page of its moment; the store gives up writes until it ends."""
    store = open_store(TINY)
    fill(store, 800)
    with store._env.begin() as reader:
        before = dict(reader.cursor(db=store._rows.entries))
        results = [put(store, number, bytes(1000)) for number in range(1000, 2000)]
        assert False in results
        assert dict(reader.cursor(db=store._rows.entries)) == before
    assert store.unwritten == results.count(False)
    assert put(store, 3000)
    assert store.failures == 0


# --- against a model --------------------------------------------------------------------------------------------------


class AgainstADict(RuleBasedStateMachine):
    """Random calls on the store and on a dict; a map large enough that nothing is evicted."""

    numbers = st.integers(0, 20)
    names = st.sampled_from(["a", "b", "c"])

    @initialize()
    def start(self) -> None:
        import tempfile

        self.place = tempfile.TemporaryDirectory()
        self.model: dict[int, tuple[bytes, int, Tags]] = {}
        self.open()

    def open(self) -> None:
        self.store = CacheStore(Path(self.place.name), SMALL, lambda: "boot")

    @rule(number=numbers, body=st.binary(max_size=20), ends=st.integers(0, 100), interface=names, provider=names, subject=names)
    def write(self, number, body, ends, interface, provider, subject):
        under = tags(interface, provider, subject, interface.encode() + subject.encode())
        assert put(self.store, number, body, ends, under)
        self.model[number] = (body, ends, under)

    @rule(name=names, tag=st.sampled_from([Tag.INTERFACE, Tag.PROVIDER, Tag.SUBJECT]))
    def purge(self, name, tag):
        gone = [n for n, (_, _, under) in self.model.items() if getattr(under, tag.name.lower()) == name]
        assert self.store.purge(tag, name) == len(gone)
        self.forget(gone)

    @rule(number=numbers)
    def purge_question(self, number):
        if number in self.model:
            question = self.model[number][2].question
            gone = [n for n, (_, _, under) in self.model.items() if under.question == question]
            assert self.store.purge(Tag.QUESTION, question) == len(gone)
            self.forget(gone)

    @rule(now=st.integers(0, 100))
    def sweep(self, now):
        gone = [n for n, (_, ends, _) in self.model.items() if ends <= now]
        assert self.store.sweep(now) == len(gone)
        self.forget(gone)

    @rule()
    def clear(self):
        assert self.store.clear() == len(self.model)
        self.model.clear()

    @rule()
    def reopen(self):
        self.store.close()
        self.open()

    def forget(self, numbers: list[int]) -> None:
        for number in numbers:
            del self.model[number]

    @invariant()
    def is_as_the_model(self):
        expected = {n: body for n, (body, _, _) in self.model.items()}
        assert {n: body_of(e) for n in range(21) if (e := self.store.read(key_of(n)))} == expected
        assert self.store.stat().entries == len(self.model)
        assert self.store.check() == []

    def teardown(self) -> None:
        self.store.close()
        self.place.cleanup()


TestAgainstADict = AgainstADict.TestCase
TestAgainstADict.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


# --- the checker itself -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("database", "says"),
    [
        ("entries", ["meta: 1 rows for 0 entries", "ends: 1 rows for 0 entries", "tags: 4 rows for 0 entries"]),
        ("meta", ["{key}: no meta", "meta: 0 rows for 1 entries"]),
        ("ends", ["{key}: no row in ends", "ends: 0 rows for 1 entries"]),
        (
            "tags",
            [*(f"{{key}}: no row for {kind}" for kind in ("interface", "provider", "subject", "question"))]
            + ["tags: 0 rows for 1 entries"],
        ),
    ],
)
def test_the_check_finds_rows_that_are_missing(open_store, database, says):
    store = open_store()
    put(store, 1)
    with store._env.begin(write=True) as txn:
        txn.drop(getattr(store._rows, database), delete=False)
    assert store.check() == [line.format(key=key_of(1)[:4].hex()) for line in says]
    store.clear()


@pytest.mark.parametrize("call", [lambda store: store.purge(Tag.PROVIDER, "police"), lambda store: store.sweep(5000)])
def test_an_index_that_names_nothing_empties_the_cache(open_store, tmp_path, call):
    """If it names what is not there it may fail to name what is; a purge must not trust it."""
    store = open_store()
    put(store, 1)
    put(store, 2, under=tags(provider="other"), ends=9000)
    with store._env.begin(write=True) as txn:
        txn.drop(store._rows.meta, delete=False)
    call(store)
    assert store.read(key_of(1)) is None
    assert store.read(key_of(2)) is None
    assert store.check() == []
    assert not (tmp_path / "cache" / "generation").exists()


def test_a_store_that_lmdb_refuses_is_a_miss_told_once(open_store):
    """A closed environment stands for every error of LMDB."""
    store = open_store()
    put(store, 1)
    store.close()
    with capture_logs() as logs:
        assert store.read(key_of(1)) is None
        assert store.read(key_of(1)) is None
        assert put(store, 1) is False
        assert store.sweep(0) == 0
    assert [line["operation"] for line in logs] == ["read", "write", "sweep"]
    assert (store.failures, store.unwritten) == (4, 1)
    with pytest.raises(BrokerError, match="could not be emptied"):
        store.purge(Tag.PROVIDER, "police")


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
    "last page": lambda data: (
        b"".join(data[at : at + 128] + (1 << 40).to_bytes(8, "little") + data[at + 136 : at + 4096] for at in (0, 4096))
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
from tests.test_cache_store import CacheStore, SMALL, put
first = int(sys.argv[2])
store = CacheStore(Path(sys.argv[1]), SMALL, lambda: "boot")
for number in range(first, first + 10**6):
    put(store, number % 500, number.to_bytes(8, "big") * (1 + number % 200), ends=10**6 + number)
    if number == first:
        print("writing", flush=True)
"""

READER = """
import sys
from pathlib import Path
from tests.test_cache_store import CacheStore, SMALL
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
        assert put(store, 499, (499).to_bytes(8, "big") * 200, ends=10**6 + 499)
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
from tests.test_cache_store import CacheStore, SMALL, body_of, flipped_body, key_of
import structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(60))
store = CacheStore(Path(sys.argv[1]), SMALL, lambda: "boot")
bodies = [body_of(store.read(key_of(number))) for number in range(300)]
assert all(body in (None, flipped_body(number)) for number, body in enumerate(bodies)), "a wrong answer"
print(bodies.count(None), flush=True)
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
    assert int(result.stdout) == 100


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
