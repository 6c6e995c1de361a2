"""What each code point folds to: the looser form in which records are compared.

In this order: private-use forms of GB 18030, signs typed for one another, Unicode compatibility (width, compatibility
ideographs, circled and squared forms), case, accents, digits of other scripts, radicals, variants, traditional to
simplified; and once more until nothing changes, so that folding twice is folding once. What must not go in here: rules that
look at the neighbours of a character (those are native), the format of the file.
"""

from __future__ import annotations

import unicodedata

from opencc import OpenCC

from tools.normalisation import lists
from tools.normalisation.signs import ALIKE, BLANK, DROPPED_MARKS, GB18030, PLAIN_LETTERS, SPACE, UNKNOWN

# All planes with characters; what is beyond (private planes, unassigned) stays as it is.
CODE_POINTS = (*range(0x34000), *range(0xE0000, 0xE0200))
_MOST_ROUNDS = 8


class Folding:
    """Code point -> code points, with everything that takes time to load."""

    def __init__(self) -> None:
        self._converters = [OpenCC("t2s"), OpenCC("hk2s")]
        self._japanese = OpenCC("jp2t")
        self._variants = lists.variants()
        self._radicals = lists.radicals()

    def fold(self, code: int) -> tuple[int, ...]:
        """Return what the character folds to, which folds to itself; nothing where it is dropped."""
        codes: tuple[int, ...] = (code,)
        for _ in range(_MOST_ROUNDS):
            folded = tuple(target for each in codes for target in self._once(each))
            if folded == codes:
                return codes
            codes = folded
        raise SystemExit(f"U+{code:04X} folds without end")

    def _once(self, code: int) -> tuple[int, ...]:
        code = GB18030.get(code, code)
        char = chr(code)
        if code in ALIKE:
            return (ALIKE[code],)
        category = unicodedata.category(char)
        if category == "Cs":
            return (UNKNOWN,)
        if category == "Zs":
            return (SPACE,)
        if category in ("Cc", "Cf") or code in BLANK or any(code in marks for marks in DROPPED_MARKS):
            return ()
        return tuple(map(ord, self._plain(char)))

    def _plain(self, char: str) -> str:
        """Half width, lower case, without accents; ideographs simplified."""
        text = unicodedata.normalize("NFKC", char).casefold()
        text = "".join(self._letter(each) for each in text)
        return "".join(self._ideograph(each) for each in text)

    def _letter(self, char: str) -> str:
        digit = unicodedata.decimal(char, None)
        if digit is not None:
            return str(digit)
        bare = "".join(c for c in unicodedata.normalize("NFD", char) if not any(ord(c) in marks for marks in DROPPED_MARKS))
        bare = unicodedata.normalize("NFC", bare)
        return PLAIN_LETTERS.get(ord(bare), bare) if len(bare) == 1 else bare

    def _ideograph(self, char: str) -> str:
        code = self._radicals.get(ord(char), ord(char))
        char = chr(self._variants.get(code, code))
        for converter in self._converters:
            simplified: str = converter.convert(char)
            if simplified != char and (converter is self._converters[0] or not in_gb2312(char)):
                return simplified
        traditional: str = self._japanese.convert(char)
        return char if in_gb2312(char) or len(traditional) != 1 else traditional


def in_gb2312(char: str) -> bool:
    """Whether the character is one of the simplified set of 1980, which no Japanese or Hong Kong rule may change."""
    return char.isascii() or bool(char.encode("gb2312", "ignore"))


def is_sign(code: int) -> bool:
    """Whether it is punctuation, a symbol or a space, and no letter or digit."""
    return unicodedata.category(chr(code))[0] in "PSZ"
