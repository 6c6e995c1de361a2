"""How characters are read, without tones, by pypinyin; surnames by the lists of our own.

What must not go in here: what a character folds to.
"""

from __future__ import annotations

from collections.abc import Iterable

from pypinyin.contrib.tone_convert import to_normal
from pypinyin.pinyin_dict import pinyin_dict

from tools.normalisation import lists


def reading(code: int) -> str | None:
    """Return the most common reading of a character, ü written v; None where it has none."""
    found = pinyin_dict.get(code)
    if found is None:
        return None
    plain: str = to_normal(found.split(",")[0], v_to_u=False)
    return plain.replace("ü", "v") if plain.replace("ü", "v").isascii() and plain.isalpha() else None


def syllables(codes: Iterable[int]) -> list[str]:
    """Return all readings in order; the id of one is its place in the list plus one."""
    found = {plain for plain in map(reading, codes) if plain is not None}
    found |= set(lists.surnames().values()) | {each for pair in lists.compounds().values() for each in pair}
    return sorted(found)
