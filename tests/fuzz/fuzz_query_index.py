"""Feeds damaged files to the query index. Invariant: nothing outside of them is read, every call ends, and what is refused is
refused as `Unusable`; what is not damaged says what dictionaries say.

An input is a byte of flags and places to spoil: three bytes each say where (of the index or the delta, before or after it is
opened), one how. Run as `python tests/fuzz/fuzz_query_index.py --seconds 60 [--seed 1]`, best against a build with
`BROKER_SANITIZE=1`. Where atheris is installed it draws the inputs and its own options apply instead.
"""

from __future__ import annotations

import functools
import mmap
import random
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from broker._native.query_index import Full, Index, Unusable
from tests import query_kit as kit
from tests.fuzz import driver

ROWS, CAPACITY, CHANGES = 120, 60, 30


@functools.cache
def world() -> tuple[kit.Built, bytes, list[bytes], dict[bytes, bytes]]:
    """An index, its delta after some changes, keys of records, and which record each has."""
    built = kit.build_random(1, ROWS)
    delta = kit.delta_for(built.index(), CAPACITY)
    names = [*built.truth.records, *kit.record_keys(random.Random(2), 20)]
    held = {name: record for name, (record, _) in built.truth.records.items()}
    index = Index(built.file, delta, writable=True)
    draw = random.Random(3)
    for name in draw.choices(names, k=CHANGES):
        held[name] = draw.randbytes(kit.STRIDE)
        index.put(held[name], kit.blocking_keys(np.random.default_rng(4), 1), [name])
    index.publish()
    return built, bytes(delta), names, held


def spoil(memory: mmap.mmap, at: int, how: int) -> None:
    memory[at % len(memory)] ^= how


def check(data: bytes) -> bool:
    """One input; returns whether the files could be opened."""
    built, image, names, held = world()
    flags = data[0] if data else 0
    places = [(*struct.unpack("<I", data[i : i + 3] + b"\0"), data[i + 3]) for i in range(1, len(data) - 3, 4)]
    file, delta = kit.memory(len(built.file)), kit.memory(len(image))
    file[:], delta[:] = built.file[:], image
    early = places[: len(places) * (flags & 3) // 3]
    for at, how in early:
        spoil((file, delta)[at & 1], at >> 1, how)
    try:
        index = Index(file, delta, writable=True)
    except Unusable:
        return False
    for at, how in places[len(early) :]:
        spoil((file, delta)[at & 1], at >> 1, how)
    is_whole = file[:] == built.file[:] and delta[:] == image
    use(index, names, held if is_whole else None, flags)
    index.close()
    return True


def use(index: Index, names: list[bytes], held: dict[bytes, bytes] | None, flags: int) -> None:
    """Call everything; with `held`, all of it must be right."""
    index.live(), index.damaged(0, 100), index.facts(), index.changes(), index.learned()
    keys = kit.blocking_keys(np.random.default_rng(4), 8)
    for row in keys:
        for slot in index.probe(row, 1 + flags)[0]:
            index.record(slot), index.key(slot)
    for name in names:
        slot = index.find(name)
        found = None if slot is None else index.record(slot)
        if held is not None and found != held.get(name):
            raise AssertionError(f"a record is not what was put, flags {flags}")
    try:
        index.put(bytes(kit.STRIDE), np.ascontiguousarray(keys[:1]), names[:1])
        index.remove(names[1:3])
        index.publish()
        index.mend(flags)
        index.relink(flags, kit.BOOT)
    except (Unusable, Full):
        if held is not None and CHANGES < flags < CAPACITY and "damaged" in str(sys.exc_info()[1]):
            raise


def draw_input(draw: random.Random) -> bytes:
    """A few places, most of them early in a section, where counts and links stand; now and then none at all."""
    places = [
        struct.pack("<I", draw.randrange(1 << draw.choice((8, 14, 16, 18))))[:3] for _ in range(draw.choice((0, 1, 2, 8)))
    ]
    return bytes([draw.randrange(256)]) + b"".join(place + bytes([draw.randrange(1, 256)]) for place in places)


if __name__ == "__main__":
    driver.main(__doc__, check, draw_input)
