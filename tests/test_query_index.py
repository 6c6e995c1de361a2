"""The query index: what is found is what dictionaries say, however often keys are shared and whatever a file holds."""

from __future__ import annotations

import random

import numpy as np
import pytest

from broker._native import query_build
from broker._native.query_index import Full, Index, Unusable
from tests import query_kit as kit


@pytest.mark.parametrize("count", [0, 1, 2, 63, 2500])
def test_records_are_found_by_their_keys_and_by_any_blocking_key(count: int) -> None:
    built = kit.build_random(count, count)
    index = built.index()
    assert (index.facts()["rows"], index.live(), index.damaged(0, 1 << 40)) == (count, count, 0)
    for slot, (name, (record, keys)) in enumerate(list(built.truth.records.items())[:300]):
        assert (index.find(name), index.key(slot), index.record(slot)) == (slot, name, record)
        assert built.truth.having(keys) <= kit.probe_names(index, keys)
    assert index.find(b"nobody") is None
    assert index.learned() == kit.LEARNED
    assert (index.record(count), index.key(count), index.key(2**32 - 1)) == (None, None, None)


def test_a_probe_finds_what_the_buckets_of_an_oracle_hold() -> None:
    keys = kit.blocking_keys(np.random.default_rng(3), 3000)
    names = kit.record_keys(random.Random(3), 3000)
    index = kit.build(names, [bytes(kit.STRIDE)] * 3000, keys).index()
    oracle = kit.by_bucket(keys, index.facts()["bits"])
    for row in keys[:500].tolist():
        wanted = {slot for key in row if key for slot in oracle[key >> (64 - index.facts()["bits"])]}
        assert set(index.probe(np.array(row, np.uint64), 4096)[0]) == wanted
    nobodys = np.random.default_rng(4).integers(1, 2**64, 500, dtype=np.uint64)
    for key in nobodys.tolist():
        assert index.probe(np.array([key], np.uint64), 4096)[0] == oracle.get(key >> (64 - index.facts()["bits"]), [])


def test_a_million_equal_keys_cost_no_more_than_some() -> None:
    count = 1_000_000
    keys = np.full((count, 1), 0xABCDEF0123456789, np.uint64)
    keys[::1000, 0] = 1 << 40
    postings = query_build.Postings(kit.memory(query_build.scratch_bytes(count)), count, 1)
    postings.add(keys)
    words, _ = query_build.key_words([f"{i:018d}".encode() for i in range(1, count + 1)], 0)
    at = query_build.places(count, 1, keys_per_record=1, pairs=postings.pairs)
    file = kit.memory(at["file"])
    file[at["words"] : at["words"] + len(words)] = words
    postings.seal(file, stride=1, heap_bytes=0, cap=0, layout=kit.LAYOUT, learned=b"", build=1, built_at_ms=0)
    index = Index(file)
    slots, is_cut = index.probe(np.array([0xABCDEF0123456789, 1 << 40], np.uint64), 1500)
    assert (len(slots), is_cut) == (1500, True)
    assert set(range(0, count, 1000)) <= set(slots), "what is rarer is taken first, all of it"


def test_a_cap_drops_and_counts_what_too_many_share() -> None:
    built = kit.build_random(5, 2000, cap=100)
    facts = built.index().facts()
    frequent = max(
        kit.by_bucket(np.array([keys for _, keys in built.truth.records.values()], np.uint64), facts["bits"]).values(), key=len
    )
    assert (facts["dropped_buckets"], facts["dropped_slots"]) == (1, len(frequent))
    assert facts["slots"] - 1 + facts["dropped_slots"] == sum(
        bool(key) for _, keys in built.truth.records.values() for key in keys
    )


OWN = 0x123456789ABCDEF0  # a key that nobody else has


def test_what_the_index_dropped_is_not_found_by_changes_either() -> None:
    built = kit.build_random(5, 2000, cap=100)
    rows = [keys for _, keys in built.truth.records.values()]
    frequent = rows[0][3]
    assert sum(frequent in row for row in rows) > 100
    index = Index(built.file, kit.delta_for(built.index(), 10), writable=True)
    index.put(bytes(kit.STRIDE), np.array([OWN, frequent, 0, 0, 0], np.uint64), [b"new"])
    index.publish()
    assert index.probe(np.array([frequent], np.uint64), 100) == ([], False)
    assert 2000 in index.probe(np.array([OWN], np.uint64), 100)[0]


def test_keys_of_records_are_in_the_order_of_their_bytes() -> None:
    names = sorted(
        [b"0" * 18, b"0" * 17 + b"1", b"9" * 17 + b"X", b"9" * 18, b"1", b"12", b"1" * 18 + b"0", b"X" * 18, b"x" * 18]
    )
    index = kit.build(names, [bytes(kit.STRIDE)] * len(names), kit.blocking_keys(np.random.default_rng(1), len(names))).index()
    assert [index.find(name) for name in names] == list(range(len(names)))
    assert [index.key(slot) for slot in range(len(names))] == names


# --- changes ------------------------------------------------------------------------------------------------------------


def changed_at_random(seed: int, rounds: int) -> None:
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    built = kit.build_random(seed, 400)
    truth = built.truth.records
    delta = kit.delta_for(built.index(), 4000)
    writer, reader = Index(built.file, delta, writable=True), Index(built.file, delta)
    pool = [*truth, *kit.record_keys(random.Random(seed + 1), 200)]
    known = 0
    for number in range(rounds):
        before = dict(truth)
        for _ in range(draw.randint(1, 4)):
            names = draw.choices(pool, k=draw.randint(1, 9))
            if draw.random() < 0.3:
                assert writer.remove(names) == len({name for name in names if truth.pop(name, None)})
                continue
            records, keys = [draw.randbytes(kit.STRIDE) for _ in names], kit.blocking_keys(rng, len(names))
            writer.put(b"".join(records), keys, names)
            truth.update(zip(names, zip(records, keys.tolist(), strict=True), strict=True))
        assert {name: reader.record(slot) for name in before if (slot := reader.find(name)) is not None} == {
            name: record for name, (record, _) in before.items()
        }, "nothing is seen that was not published"
        if draw.random() < 0.3:
            writer.mend(known)
            truth.clear()
            truth.update(before)
        else:
            known = writer.appended()
            writer.publish()
        if number % 10 == 9:
            writer.relink(known, kit.BOOT)
        check(reader, built.truth, draw.sample(pool, 60))


def check(index: Index, truth: kit.Truth, names: list[bytes]) -> None:
    assert index.live() == len(truth.records)
    for name in names:
        slot = index.find(name)
        record, keys = truth.records.get(name, (None, [1]))
        assert (None if slot is None else index.record(slot)) == record
        candidates = kit.probe_names(index, keys)
        assert truth.having(keys) <= candidates <= truth.records.keys()


@pytest.mark.parametrize("seed", range(3))
def test_changes_are_seen_together_as_a_dictionary_would_have_them(seed: int) -> None:
    changed_at_random(seed, 30)


def test_a_delta_that_is_full_says_so_and_keeps_what_it_has() -> None:
    built = kit.build_random(1, 10)
    index = Index(built.file, kit.delta_for(built.index(), 3), writable=True)
    keys = kit.blocking_keys(np.random.default_rng(1), 4)
    with pytest.raises(Full):
        index.put(bytes(4 * kit.STRIDE), keys, [b"a", b"b", b"c", b"d"])
    index.publish()
    assert (index.changes(), index.find(b"c"), index.find(b"d")) == ((3, 3), 12, None)


def test_a_hot_key_in_the_delta_is_bounded_and_the_newest_are_found() -> None:
    built = kit.build_random(1, 10)
    index = Index(built.file, kit.delta_for(built.index(), 5000), writable=True)
    keys = np.full((5000, kit.KEYS), 0xABCDEF0123456789, np.uint64)
    index.put(bytes(5000 * kit.STRIDE), keys, [f"{i:05d}".encode() for i in range(5000)])
    index.publish()
    slots, is_cut = index.probe(keys[0], 100)
    assert is_cut and 5009 in slots and len(slots) <= 100


def test_keys_that_many_changes_share_leave_room_for_a_rare_one_and_for_the_index() -> None:
    built = kit.build_random(1, 500)
    index = Index(built.file, kit.delta_for(built.index(), 1000), writable=True)
    rare, one, other = 0x1111_2222_3333_4444, 0xABCD_EF01_2345_6789, 0x7654_3210_FEDC_BA98
    held = next(keys for _, keys in built.truth.records.values() if len(built.truth.having(keys[:1])) == 1)[0]
    keys = np.zeros((601, kit.KEYS), np.uint64)
    keys[:, 0] = [rare] + [one] * 300 + [other] * 300
    index.put(bytes(601 * kit.STRIDE), keys, [f"{i:05d}".encode() for i in range(601)])
    index.publish()
    found = kit.probe_names(index, [one, other, rare, held], 512)
    assert b"00000" in found, "the change with the rare key"
    assert built.truth.having([held]) <= found, "what has not changed"


# --- files that are not what they should be -------------------------------------------------------------------------------


def test_a_header_or_table_that_was_changed_is_refused() -> None:
    built = kit.build_random(2, 50)
    for at in (0, 8, 12, 20, 60, 70, 100, built.size - 1):
        spoilt = kit.memory(built.size)
        spoilt[: built.size] = built.file[: built.size]
        spoilt[at] ^= 0x40
        with pytest.raises(Unusable):
            Index(memoryview(spoilt)[: built.size])


def test_a_file_that_is_cut_off_is_refused() -> None:
    built = kit.build_random(2, 50)
    view = memoryview(built.file)
    for size in (0, 100, kit.PAGE, built.size - 1):
        with pytest.raises(Unusable, match="cut off"):
            Index(view[:size])
    Index(view[: built.size]).close()


def test_damage_is_found_and_leads_nowhere() -> None:
    built = kit.build_random(2, 500)
    draw = random.Random(2)
    keys = [keys for _, keys in list(built.truth.records.values())[:50]]
    for _ in range(100):
        at = draw.randrange(kit.PAGE, built.size)
        before = built.file[at]
        built.file[at] ^= 1 << draw.randrange(8)
        try:
            index = built.index()
        except Unusable:
            built.file[at] = before  # of the table of checksums
            continue
        padding = index.damaged(0, 1 << 40) == 0
        assert not padding, "padding has a checksum too"
        for row in keys:
            for slot in index.probe(np.array(row, np.uint64), 4096)[0]:
                index.record(slot), index.key(slot)
        built.file[at] = before


def test_the_delta_of_another_index_or_a_short_one_is_refused() -> None:
    one, other = kit.build_random(1, 30), kit.build_random(2, 31)
    delta = kit.delta_for(one.index(), 5)
    with pytest.raises(Unusable, match="of another index"):
        Index(other.file, delta)
    with pytest.raises(Unusable, match="cut off"):
        Index(one.file, memoryview(delta)[: kit.PAGE])
    delta[0] ^= 1
    with pytest.raises(Unusable, match="no delta"):
        Index(one.file, delta)


def test_changes_that_the_base_does_not_know_of_are_not_taken_for_its_own() -> None:
    built = kit.build_random(1, 30)
    delta = kit.delta_for(built.index(), 50)
    index = Index(built.file, delta, writable=True)
    index.put(bytes(kit.STRIDE), kit.blocking_keys(np.random.default_rng(1), 1), [b"a"])
    index.publish()
    with pytest.raises(Unusable):
        index.mend(0)
    with pytest.raises(Unusable):
        Index(built.file, delta).see(2)


def test_arguments_that_do_not_fit_are_refused() -> None:
    built = kit.build_random(1, 30)
    index = built.index()
    with pytest.raises(ValueError, match="not opened for changes"):
        index.put(b"", b"", [])
    with pytest.raises(ValueError, match="words of 64 bits"):
        index.probe(b"123", 5)
    with pytest.raises(ValueError, match="1 to 511 bytes"):
        index.find(b"")
    with pytest.raises(ValueError, match="1 to 511 bytes"):
        query_build.key_words([b"x" * 512], 0)
    with pytest.raises(OverflowError):
        query_build.Postings(kit.memory(query_build.scratch_bytes(1)), 1, 1).add(np.arange(1, 5000, dtype=np.uint64))
