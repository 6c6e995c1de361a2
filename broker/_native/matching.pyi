"""Many texts against many: Jaro, Jaro-Winkler and Levenshtein (ext/matching.pyx, ext/matching_*.c).

One query is compared with blocks of 64 choices, in the lanes of vector registers: of 64 bytes with AVX-512 (F, BW, VL, DQ,
BITALG, VPOPCNTDQ: Ice Lake, Zen 4 and later), of 32 bytes with AVX2. The scalar path is that of every other processor and of
texts of more than 64 code points. All paths give the same numbers: counts are whole, and scores come from one function.

The time for a pair is linear in both lengths for Jaro; for Levenshtein it is the product of the lengths / 64. Memory is linear
in the texts. The interpreter's lock is not held while texts are packed or compared.
"""

from collections.abc import Buffer, Iterable  # type: ignore[attr-defined]
from typing import final

METRICS: dict[str, int]  # jaro, jaro_winkler, levenshtein

def paths() -> tuple[str, ...]:
    """Return the paths that this processor has, of "scalar", "avx2", "avx512"; the fastest last."""

def path() -> str:
    """Return the path in use."""

def use(name: str) -> None:
    """Choose the path of `Choices` that are made from now on; those that exist keep theirs.

    Raises:
        ValueError: this processor has no such path.
    """

@final
class Texts:
    """Texts, borrowed from Python. `what` is what errors call them."""

    longest: int  # in code points; 0 when there are none

    def __init__(self, values: Iterable[str], what: str) -> None:
        """Hold on to texts.

        Raises:
            TypeError: one of them is no str, or `values` is itself one text. The message gives its position and type alone.
            ValueError: one is longer than 2³¹-1 code points.
        """

    def __len__(self) -> int: ...

@final
class Choices:
    """Texts, copied and packed for comparison with many queries. Cannot be changed; may be shared by threads."""

    longest: int  # in code points; 0 when there are none

    def __init__(self, values: Iterable[str]) -> None:
        """Pack texts. Raises as `Texts`, which they are called "choices" by."""

    def __len__(self) -> int: ...

def compare(query: str, choice: str, metric: int) -> float:
    """Return the similarity of two texts as a double, or their distance as an int.

    Raises:
        TypeError: one is no str.
        ValueError: `metric` is none.
    """

def cdist(queries: Texts, choices: Choices, metric: int, out: Buffer) -> None:
    """Compare all with all: item q * len(choices) + c of `out` is of query q and choice c.

    `out` is writable and contiguous: floats for similarities, unsigned integers of 1, 2 or 4 bytes for distances.

    Raises:
        ValueError: `metric` is none, or `out` is of another size or type, or too narrow for the longest text.
    """

def cpdist(queries: Texts, choices: Texts, metric: int, out: Buffer) -> None:
    """Compare by position: item i of `out` is of query i and choice i. `out` as in `cdist`.

    Raises:
        ValueError: as `cdist`, or there are not as many of both.
    """
