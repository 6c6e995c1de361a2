"""The cache as its caller sees it: reading, purging, room in a map that is always full, and all of it against a dict."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from structlog.testing import capture_logs

from broker._native.cachekey import pack_entry
from broker.cache.store import BATCH, CacheStore, Tag, Tags
from broker.config import Cache
from broker.errors import BrokerError
from tests.cache_kit import SMALL, TINY, Open, body_of, fill, key_of, purge, put, stores, tags


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    with stores(tmp_path) as open_one:
        yield open_one


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
    assert purge(store, Tag.SUBJECT, "old") == 0
    assert store.sweep(now_ms=100) == 0
    assert purge(store, Tag.SUBJECT, "new") == 1


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
    assert purge(store, tag, name) == len(gone)
    assert {number for number in range(1, 5) if store.read(key_of(number)) is None} == gone
    assert store.check() == []


def test_a_purge_larger_than_a_batch_is_complete(open_store):
    store = open_store(Cache(map_size_mib=16))
    count = BATCH * 2 + 1
    for number in range(count):
        put(store, number)
    put(store, count, under=tags(provider="other"))
    assert purge(store, Tag.PROVIDER, "police") == count
    assert store.stat().entries == 1
    assert store.check() == []


def test_a_purge_in_a_full_map_is_complete_and_spares_the_rest(open_store):
    """There is no room to copy all the pages at once, and one batch frees pages that only the next but one may use."""
    store = open_store(TINY)
    for number in range(600):
        assert put(store, number, bytes(500), under=tags(provider=("police", "other")[number % 2]))
    alive = {number for number in range(600) if store.read(key_of(number)) is not None}
    assert purge(store, Tag.PROVIDER, "police") == len([n for n in alive if n % 2 == 0]) > 50
    assert {number for number in range(600) if store.read(key_of(number)) is not None} == {n for n in alive if n % 2}


def test_clear_removes_everything_even_in_a_full_map(open_store):
    store = open_store(TINY)
    fill(store, 2000)
    entries = store.stat().entries
    assert store.clear() == entries
    assert store.stat().entries == 0
    assert store.check() == []
    assert put(store, 1)


# --- room -------------------------------------------------------------------------------------------------------------


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


def test_sweeping_brings_a_map_under_its_ratio(open_store):
    store = open_store(Cache(map_size_mib=4, fill_ratio=0.5))
    fill(store, 800)
    store.close()
    store = open_store(Cache(map_size_mib=4, fill_ratio=0.2))
    limit = (4 << 20) // 5
    assert store.stat().used_bytes > limit
    while store.sweep(now_ms=0):
        assert store.check() == []
    assert 0.8 * limit < store.stat().used_bytes <= limit
    assert store.evicted > 0


def test_a_sweep_removes_what_has_ended_and_keeps_the_rest(open_store):
    store = open_store()
    for ends in (0, 99, 100, 101, 2**64 - 1):
        put(store, ends, ends=ends)
    assert store.sweep(now_ms=100) == 3
    assert [ends for ends in (0, 99, 100, 101, 2**64 - 1) if store.read(key_of(ends))] == [101, 2**64 - 1]
    assert (store.ended, store.evicted) == (3, 0)


def test_eviction_takes_what_ends_soonest(open_store):
    store = open_store(TINY)
    for number in range(1000):
        assert put(store, number, bytes(1000), ends=10_000 + number)
    assert store.evicted > 500
    assert [store.read(key_of(number)) is None for number in range(1000)] == [n < store.evicted for n in range(1000)]


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
        assert purge(self.store, tag, name) == len(gone)
        self.forget(gone)

    @rule(number=numbers)
    def purge_question(self, number):
        if number in self.model:
            question = self.model[number][2].question
            gone = [n for n, (_, _, under) in self.model.items() if under.question == question]
            assert purge(self.store, Tag.QUESTION, question) == len(gone)
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
            [
                *(f"{{key}}: no row for {kind}" for kind in ("interface", "provider", "subject", "question")),
                "tags: 0 rows for 1 entries",
            ],
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


@pytest.mark.parametrize("call", [lambda store: purge(store, Tag.PROVIDER, "police"), lambda store: store.sweep(5000)])
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
        purge(store, Tag.PROVIDER, "police")
