"""The grants in force, packed, in order of their ids, in blocks: a change costs the layout of a block, not that of all grants.

A hundred thousand grants are objects all over the memory, and looking at each of them takes longer than everything else that a
change needs. What must not go in here: how a grant is packed (image.py), and what is in force (compiler.py).
"""

from __future__ import annotations

import bisect
import itertools
from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

_MOST_IN_A_BLOCK = 1000

Members = Mapping[str, tuple[int, ...]]  # the numbers of the consumers behind a holder
Version = tuple[str, int]  # of an interface


class Held(NamedTuple):
    """A grant that is in force: who holds it, a consumer or a group, and a record for each version of its interface."""

    holder: str
    versions: tuple[Version, ...]
    records: tuple[bytes, ...]


class Layout(NamedTuple):
    """Records, one behind the other, and who holds which: three columns, the last in words of 8 bytes from the beginning."""

    records: bytes
    consumers: array[int]
    interfaces: array[int]
    refs: array[int]


class _Block:
    def __init__(self, keys: list[str]) -> None:
        self.keys = keys  # rising
        self.layout: Layout | None = None  # not yet, or no longer


class Holdings:
    """Grants by id."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}
        self._blocks: list[_Block] = []
        self._laid_out_for: tuple[Members, Mapping[Version, int]] | None = None

    def __iter__(self) -> Iterator[tuple[str, Held]]:
        return iter(self._held.items())

    def clear(self) -> None:
        """Nothing is in force."""
        self._held.clear()
        self._blocks.clear()

    def replace(self, packed: Mapping[str, Held | None]) -> None:
        """Take in grants that are new or other than they were; None: is not in force any more."""
        for key in packed:
            self._held.pop(key, None)
        self._held.update((key, held) for key, held in packed.items() if held)
        if len(packed) > len(self._blocks):
            keys, size = sorted(self._held), _MOST_IN_A_BLOCK // 2
            self._blocks = [_Block(keys[at : at + size]) for at in range(0, len(keys), size)]
            return
        for key in packed:
            self._place(key)

    def _place(self, key: str) -> None:
        at = max(0, bisect.bisect_right(self._blocks, key, key=lambda block: block.keys[0]) - 1)
        keys = self._blocks[at].keys
        place = bisect.bisect_left(keys, key)
        is_there = place < len(keys) and keys[place] == key
        if key in self._held and not is_there:
            keys.insert(place, key)
        elif key not in self._held and is_there:
            del keys[place]
        half = len(keys) // 2
        parts = (keys[:half], keys[half:]) if len(keys) > _MOST_IN_A_BLOCK else (keys,)
        self._blocks[at : at + 1] = [_Block(part) for part in parts if part]

    def laid_out(self, members: Members, interfaces: Mapping[Version, int]) -> Layout:
        """Put all records one behind the other, by the numbers that consumers and interfaces have."""
        if self._laid_out_for != (members, interfaces):
            self._laid_out_for = members, interfaces
            for block in self._blocks:
                block.layout = None
        layouts = [self._layout_of(block, members, interfaces) for block in self._blocks]
        starts = itertools.accumulate([len(layout.records) >> 3 for layout in layouts], initial=0)
        return Layout(
            b"".join([layout.records for layout in layouts]),
            array("I", itertools.chain.from_iterable(layout.consumers for layout in layouts)),
            array("I", itertools.chain.from_iterable(layout.interfaces for layout in layouts)),
            array("I", [start + ref for start, layout in zip(starts, layouts, strict=False) for ref in layout.refs]),
        )

    def _layout_of(self, block: _Block, members: Members, interfaces: Mapping[Version, int]) -> Layout:
        if block.layout is None:
            held = [self._held[key] for key in block.keys]
            records = [record for one in held for record in one.records]
            whose = [members.get(one.holder, ()) for one in held for _ in one.records]
            numbers = [interfaces[version] for one in held for version in one.versions]
            starts = itertools.accumulate([len(record) >> 3 for record in records], initial=0)
            consumers = array("I", itertools.chain.from_iterable(whose))
            block.layout = Layout(b"".join(records), consumers, _for_each(whose, numbers), _for_each(whose, starts))
        return block.layout


def _for_each(whose: list[tuple[int, ...]], values: Iterable[int]) -> array[int]:
    """Repeat what is of a record for each of those who hold it."""
    return array("I", itertools.chain.from_iterable(map(itertools.repeat, values, map(len, whose))))
