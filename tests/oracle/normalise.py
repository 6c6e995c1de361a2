"""The oracle of the fold of `broker._native.normalise`: unicodedata and a few lists, one character at a time.

It reads no table of ours. It says what a character becomes by Unicode alone; what OpenCC and the lists of variants add is
`simplified`, which a caller that has OpenCC passes. What must not go in here: an import of the native module or of tools/.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

MIDDLE_DOTS = "··•‧∙⋅・･"
MARKS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u3099\u309a\ufe20-\ufe2f]")
SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def fold(text: str, simplified: Callable[[str], str] = lambda text: text) -> str:
    """Fold a text of letters, digits, ideographs and the signs of ASCII; other signs are not the oracle's."""
    text = SELECTORS.sub("", text)
    text = "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cf"))
    text = re.sub(f"[{MIDDLE_DOTS}]", "·", text)
    text = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFC", MARKS.sub("", unicodedata.normalize("NFD", text)))
    return simplified(text)


def repairs(digits: str, is_right: Callable[[str], bool]) -> set[str]:
    """Every right number one slip away, by trying them all."""
    tried = {digits[:i] + char + digits[i + 1 :] for i in range(17) for char in "0123456789"}
    tried |= {digits[:17] + char for char in "0123456789X"}
    for gap in (1, 2):
        for i in range(18 - gap):
            swapped = list(digits)
            swapped[i], swapped[i + gap] = swapped[i + gap], swapped[i]
            tried.add("".join(swapped))
    return {number for number in tried if number != digits and is_right(number)}
