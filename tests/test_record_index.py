"""The query index of a record base: it says what the base says, whoever was killed when, and never what an older base said."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.config import Config
from broker.errors import BaseUnusable
from broker.records import change, index_build, index_files
from broker.records.index import Indexes
from broker.records.index_check import problems
from broker.records.load import Source, load
from broker.records.packing import PACKINGS, Packer
from broker.records.person_packing import PersonPacking
from broker.records.store import Bases, Store, directory_of, open_store
from tests.support import records, searched
from tests.support.index_writers import (
    COUNT,
    DEATHS,
    DECLARED,
    deleting,
    dying,
    in_child,
    loading,
    rebuild,
    rebuilding,
    rows,
    started,
    upserting,
)
from tests.support.people import resident_id
from tests.support.records import BASE
from tests.support.running import RunningBroker, wait_until


@pytest.fixture(autouse=True)
def packing() -> Iterator[None]:
    PACKINGS.offer(searched.PlainPacking)
    yield
    PACKINGS.offer(PersonPacking)


@pytest.fixture
def broker(tmp_path: Path) -> RunningBroker:
    """Settings and a control plane; no broker needs to run."""
    return RunningBroker(tmp_path)


@pytest.fixture
def config(broker: RunningBroker) -> Config:
    broker.apply(records.catalogue(bases=(DECLARED,)))
    load(broker.config, DECLARED, [rows(range(COUNT))], most_bad_rows=0)
    return broker.config


@contextmanager
def store_of(config: Config, *, readonly: bool = True) -> Iterator[Store]:
    store = open_store(config, DECLARED, readonly=readonly)
    try:
        yield store
    finally:
        store.close()


def packer() -> Packer:
    found = PACKINGS.packer(DECLARED.search)
    assert found
    return found


def found_by(config: Config, name: str | None = None, number: int | None = None) -> set[str]:
    """Who is found by a name or an id, by a reader that has just opened the base."""
    with opened(config) as indexes:
        return ask(indexes, name, number)


@contextmanager
def opened(config: Config) -> Iterator[Indexes]:
    bases = Bases(config)
    indexes = Indexes(bases)
    try:
        yield indexes
    finally:
        indexes.close()
        bases.close()


def ask(indexes: Indexes, name: str | None = None, number: int | None = None) -> set[str]:
    native = indexes.of(DECLARED).native
    said = name, None if number is None else resident_id(number)
    slots, _ = native.probe(searched.keys_of(*said, None), 4096)
    like = [slot for slot in slots if searched.has(native.record(slot) or b"", *said)]
    return {key.decode() for slot in like if (key := native.key(slot))}


def whole(config: Config) -> None:
    with store_of(config) as store:
        assert problems(store, packer()) == []


# --- with the base ------------------------------------------------------------------------------------------------------


def test_a_load_builds_it_and_records_lead_back_to_their_keys(config: Config) -> None:
    whole(config)
    assert found_by(config, number=5) == {resident_id(5)}
    assert found_by(config, name="张三3") >= {resident_id(n) for n in range(3, COUNT, 7)}
    assert not found_by(config, number=COUNT)


def test_changes_are_seen_at_once_by_who_has_it_open(broker: RunningBroker, config: Config) -> None:
    with opened(config) as indexes:
        before = indexes.of(DECLARED)
        assert not ask(indexes, number=COUNT)
        assert in_child(upserting, broker.environment, range(COUNT - 10, COUNT + 10), ["李四"]) == 0
        assert ask(indexes, number=COUNT) == {resident_id(COUNT)}
        assert ask(indexes, name="李四1") == {resident_id(n) for n in range(COUNT - 10, COUNT + 10) if n % 7 == 1}
        assert resident_id(COUNT - 1) not in ask(indexes, name=f"张三{(COUNT - 1) % 7}")
        assert in_child(deleting, broker.environment, range(COUNT - 5, COUNT + 5)) == 0
        assert not ask(indexes, number=COUNT)
        assert indexes.of(DECLARED) is before, "no rebuild was needed"
    whole(config)


def test_changes_that_are_refused_leave_the_index_as_it_was(config: Config) -> None:
    bad = Source("bad", [{"resident_id": resident_id(COUNT + 1), "name": "王五"}, {"resident_id": "nobody", "name": "x"}])
    with pytest.raises(Exception, match="rows are wrong"):
        change.upsert(config, DECLARED, [bad], most_bad_rows=0)
    assert not found_by(config, number=COUNT + 1)
    change.upsert(config, DECLARED, [rows([COUNT + 2])], most_bad_rows=0)
    assert found_by(config, number=COUNT + 2) == {resident_id(COUNT + 2)}
    whole(config)


def test_more_changes_than_there_is_room_for_build_it_anew(
    broker: RunningBroker, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_build, "capacity_of", lambda _: 20)
    rebuild(config)
    with opened(config) as indexes:
        before = indexes.of(DECLARED)
        assert in_child(upserting, broker.environment, range(COUNT, COUNT + 50), ["张三"]) == 0
        assert ask(indexes, number=COUNT + 49) == {resident_id(COUNT + 49)}
        assert indexes.of(DECLARED) is not before
    whole(config)


def test_another_load_and_another_build_are_followed(broker: RunningBroker, config: Config) -> None:
    with opened(config) as indexes:
        assert ask(indexes, number=1)
        assert in_child(rebuilding, broker.environment) == 0
        assert ask(indexes, number=1)
        assert in_child(loading, broker.environment, range(10, 20)) == 0
        assert (ask(indexes, number=1), ask(indexes, number=10)) == (set(), {resident_id(10)})
    assert len(list(directory_of(config, BASE).glob("*/search-*"))) == 2, "what is read by nobody is removed"


def test_a_base_that_was_loaded_before_it_was_searched_gets_one_with_its_next_change(config: Config) -> None:
    PACKINGS.offer(None)
    load(config, DECLARED, [rows(range(5))], most_bad_rows=0)
    PACKINGS.offer(searched.PlainPacking)
    with pytest.raises(BaseUnusable) as refused:
        found_by(config, number=1)
    assert "no query index" in refused.value.why
    assert change.upsert(config, DECLARED, [rows([9])], most_bad_rows=0).index_built
    assert found_by(config, number=1) == {resident_id(1)}


def test_changes_by_who_knows_of_no_index_make_it_refused(config: Config) -> None:
    PACKINGS.offer(None)
    change.upsert(config, DECLARED, [rows([COUNT])], most_bad_rows=0)
    PACKINGS.offer(searched.PlainPacking)
    with pytest.raises(BaseUnusable):
        found_by(config, number=1)
    change.index(config, DECLARED, lambda _: lambda _: None)
    assert found_by(config, number=COUNT) == {resident_id(COUNT)}


# --- files that are not what they should be -------------------------------------------------------------------------------


def files(config: Config) -> tuple[Path, Path]:
    with store_of(config) as store:
        noted = store.indexed()
        assert noted
        return index_files.index_file(store.directory, noted.build), index_files.delta_file(store.directory, noted.build)


def test_damage_is_found_by_a_check_and_beside_the_work(config: Config) -> None:
    born = [f"19{year}0101" for year in range(50, 75)]  # enough for more than one chunk
    many = [{"resident_id": resident_id(n, day), "name": "张三"} for day in born for n in range(1000)]
    load(config, DECLARED, [Source("test", many)], most_bad_rows=0)
    file, _ = files(config)
    data = bytearray(file.read_bytes())
    data[5000] ^= 1
    file.write_bytes(data)
    with store_of(config) as store:
        assert any("damaged" in problem for problem in problems(store, packer()))
    with opened(config) as indexes:
        index = indexes.of(DECLARED)
        wait_until(lambda: index.damaged_chunks)
        assert indexes.of(DECLARED) is not index, "it is looked at anew"


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("harm", ["cut", "gone", "empty", "header"])
def test_files_that_cannot_be_read_are_refused_and_built_anew_by_the_next_change(config: Config, which: int, harm: str) -> None:
    file = files(config)[which]
    data = file.read_bytes()
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes({"cut": data[:-5000], "empty": b"", "header": b"?" + data[1:]}[harm])
    with pytest.raises(BaseUnusable) as refused:
        found_by(config, number=1)
    assert "run `broker records index`" in refused.value.why
    assert change.upsert(config, DECLARED, [rows([COUNT])], most_bad_rows=0).index_built
    assert found_by(config, number=COUNT) == {resident_id(COUNT)}
    whole(config)


def test_records_that_were_packed_otherwise_are_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searched.PlainPacking, "layout", b"another")
    with pytest.raises(BaseUnusable) as refused:
        found_by(config, number=1)
    assert "packed otherwise" in refused.value.why


def test_an_older_index_in_the_place_of_the_newer_is_refused(config: Config) -> None:
    file, delta = files(config)
    old = file.read_bytes(), delta.read_bytes()
    change.upsert(config, DECLARED, [rows([COUNT])], most_bad_rows=0)
    delta.write_bytes(old[1])
    with pytest.raises(BaseUnusable) as refused:
        found_by(config, number=COUNT)
    assert "lacks changes" in refused.value.why


def test_after_the_machine_went_down_links_are_made_again(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    change.upsert(config, DECLARED, [rows(range(COUNT, COUNT + 20), "李四")], most_bad_rows=0)
    _, delta = files(config)
    data = bytearray(delta.read_bytes())
    data[4096:8192] = os.urandom(4096)  # of links and deaths, which may be of any age
    delta.write_bytes(data)
    monkeypatch.setattr("broker.records.index_build.read_boot_id", lambda: "00000000-0000-0000-0000-0000000000ff")
    assert found_by(config, number=COUNT + 3) == {resident_id(COUNT + 3)}
    whole(config)


# --- killed ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("death", DEATHS)
def test_a_writer_that_is_killed_leaves_what_the_base_says(broker: RunningBroker, config: Config, death: str) -> None:
    *_, is_changed, left = DEATHS[death]
    expected = {resident_id(COUNT)} if is_changed else set()
    with opened(config) as indexes:
        assert ask(indexes, number=1)
        assert in_child(dying, broker.environment, death) == -signal.SIGKILL
        assert len(list(directory_of(config, BASE).glob("*/search-*"))) == left
        wait_until(lambda: ask(indexes, number=COUNT) == expected)
    assert found_by(config, number=COUNT) == expected
    with store_of(config) as store:
        assert len(store) == COUNT + 5 * is_changed
    change.upsert(config, DECLARED, [rows([COUNT + 9], "王五")], most_bad_rows=0)
    assert found_by(config, name=f"王五{(COUNT + 9) % 7}") == {resident_id(COUNT + 9)}
    whole(config)
    rebuild(config)
    assert len(list(directory_of(config, BASE).glob("*/search-*"))) == 2


def test_who_reads_beside_a_writer_sees_every_record_once_and_never_an_older_one(broker: RunningBroker, config: Config) -> None:
    with opened(config) as indexes:
        native = indexes.of(DECLARED).native
        writer = started(upserting, broker.environment, [1, 8, 15], [f"甲{turn}/" for turn in range(40)])
        turns: dict[int, list[int]] = {1: [-1], 8: [-1], 15: [-1]}
        while writer.is_alive():
            for number, seen in turns.items():
                slots, _ = native.probe(searched.keys_of(None, resident_id(number), None), 100)
                held = [record for slot in slots if (record := native.record(slot))]  # None where it was replaced since
                names = [searched.name_in(record) for record in held if searched.has(record, None, resident_id(number))]
                assert len(names) <= 1
                seen += [int(name[1:].partition("/")[0]) for name in names if name.startswith("甲")]
        assert writer.exitcode == 0
        assert all(len(set(seen)) > 3 and seen == sorted(seen) for seen in turns.values())
    whole(config)
