"""A query index in memory for tests: random records, keys with blocks of all sizes, and dictionaries that say what is right."""

from __future__ import annotations

import mmap
import random
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from broker._native import query_build, query_index
from broker._native.query_index import Index

STRIDE, KEYS, BUILD, LAYOUT, BOOT = 24, 5, 77, b"L" * 32, b"B" * 16
LEARNED = bytes(range(100))
PAGE = mmap.PAGESIZE

Words = npt.NDArray[np.uint64]


def memory(size: int) -> mmap.mmap:
    return mmap.mmap(-1, max(size + PAGE - 1, PAGE) // PAGE * PAGE)


def record_keys(draw: random.Random, count: int) -> list[bytes]:
    """Keys of records in order: numbers of residents, and others of all lengths."""
    found: set[bytes] = set()
    while len(found) < count:
        number = f"{draw.randrange(10**17):017d}{draw.choice('0123456789X')}".encode()
        other = draw.randbytes(draw.choice((1, 2, 7, 17, 18, 19, 100, 511)))
        found.add(draw.choice((number, number, other.strip(b"\0") or b"x")))
    return sorted(found)


def blocking_keys(draw: np.random.Generator, count: int) -> Words:
    """A row of keys each: mostly nobody else's, some shared by few, one by many, and places that hold none."""
    keys = draw.integers(1, 2**64, (count, KEYS), dtype=np.uint64)
    if count:
        keys[:, 1] = keys[draw.integers(0, max(count // 4, 1), count), 1]
        keys[:, 2] = np.where(draw.random(count) < 0.5, np.uint64(0), keys[:, 2])
        keys[:, 3] = np.where(draw.random(count) < 0.3, keys[0, 3], keys[:, 3])
    return keys


@dataclass
class Truth:
    """What an index should say, by dictionaries: of each key of a record its packed record and its blocking keys."""

    records: dict[bytes, tuple[bytes, list[int]]] = field(default_factory=dict)

    def having(self, keys: list[int]) -> set[bytes]:
        wanted = set(keys) - {0}
        return {name for name, (_, held) in self.records.items() if wanted & set(held)}


@dataclass
class Built:
    file: mmap.mmap
    size: int
    truth: Truth

    def index(self) -> Index:
        return Index(self.file)


def build(names: list[bytes], records: list[bytes], keys: Words, cap: int = 0, most: int | None = None) -> Built:
    most = keys.size if most is None else most
    stride, per_record = len(records[0]) if records else STRIDE, keys.shape[1]
    postings = query_build.Postings(memory(query_build.scratch_bytes(most)), most, per_record)
    for at in range(0, len(names), 1000):
        postings.add(np.ascontiguousarray(keys[at : at + 1000]))
    words, heap = query_build.key_words(names, 0)
    at = query_build.places(
        len(names), stride, keys_per_record=per_record, pairs=postings.pairs, heap_bytes=len(heap), learned_bytes=len(LEARNED)
    )
    file = memory(at["file"])
    for begin, part in ((at["records"], b"".join(records)), (at["words"], words), (at["heap"], heap)):
        file[begin : begin + len(part)] = part
    size = postings.seal(
        file, stride=stride, heap_bytes=len(heap), cap=cap, layout=LAYOUT, learned=LEARNED, build=BUILD, built_at_ms=1
    )
    held = zip(records, keys.tolist(), strict=True)
    return Built(file, size, Truth(dict(zip(names, held, strict=True))))


def build_random(seed: int, count: int, cap: int = 0) -> Built:
    draw = random.Random(seed)
    names = record_keys(draw, count)
    return build(names, [draw.randbytes(STRIDE) for _ in names], blocking_keys(np.random.default_rng(seed), count), cap)


def delta_for(index: Index, capacity: int) -> mmap.mmap:
    facts = index.facts()
    made = memory(query_index.delta_bytes(facts["rows"], facts["stride"], facts["keys_per_record"], capacity))
    query_index.make_delta(made, index, capacity, BOOT)
    return made


def probe_names(index: Index, keys: list[int], most: int = 4096) -> set[bytes | None]:
    """Under which keys the candidates of a probe are kept."""
    slots, _ = index.probe(np.array(keys, np.uint64), most)
    assert len(slots) == len(set(slots)) <= most
    return {index.key(slot) for slot in slots}


def by_bucket(keys: Words, bits: int) -> dict[int, list[int]]:
    """The oracle of postings: of each bucket its slots."""
    found = defaultdict(list)
    for slot, row in enumerate(keys.tolist()):
        for key in row:
            if key:
                found[key >> (64 - bits)].append(slot)
    return found
