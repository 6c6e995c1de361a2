"""String distances, many against many: the face of the native kernels (`broker/_native/matching.pyi`).

`cdist` and `cpdist` are called like those of RapidFuzz and give the same numbers to the last bit, sooner.
Texts are compared by code point, as they are. What must not go in here: normalisation of texts, and what a similarity means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from broker._native import matching
from broker._native.matching import Choices, Texts

Matrix = npt.NDArray[Any]

# The narrowest type that holds a distance is enough: a distance is at most the length of the longer text.
_DISTANCES = (np.uint8, np.uint16, np.uint32)


@dataclass(frozen=True)
class Scorer:
    """A way to compare two texts. `cdist` and `cpdist` give its similarity, or its distance if `counts_edits`."""

    name: str
    counts_edits: bool = False

    def similarity(self, query: str, choice: str) -> float:
        """Return how alike two texts are: 0 to 1, or the edits saved against replacing all of the longer one.

        Raises:
            TypeError: an argument is not a text.
        """
        return max(len(query), len(choice)) - self._native(query, choice) if self.counts_edits else self._native(query, choice)

    def distance(self, query: str, choice: str) -> float:
        """Return how far apart two texts are: 1 - similarity, or the least number of edits.

        Raises:
            TypeError: an argument is not a text.
        """
        return self._native(query, choice) if self.counts_edits else 1.0 - self._native(query, choice)

    def _native(self, query: str, choice: str) -> float:
        return matching.compare(query, choice, matching.METRICS[self.name])


jaro = Scorer("jaro")
"""Jaro 1989 (doi:10.1080/01621459.1989.10478785): matches within half the longer length, and transpositions among them."""

jaro_winkler = Scorer("jaro_winkler")
"""Winkler 1990 (ERIC ED325505): above 0.7, Jaro gains a tenth of the rest for each of up to 4 leading code points in common."""

levenshtein = Scorer("levenshtein", counts_edits=True)
"""The least number of insertions, deletions and replacements (Levenshtein 1966), each counting one."""


def cdist(
    queries: Sequence[str],
    choices: Sequence[str] | Choices,
    scorer: Scorer,
    *,
    dtype: npt.DTypeLike | None = None,
    out: Matrix | None = None,
) -> Matrix:
    """Compare each query with each choice: an array of shape (len(queries), len(choices)).

    Choices that are compared more than once are worth keeping as `Choices`, and large results as `out`, which is written and
    returned: fresh memory may take longer than the comparison. `dtype` is float32 for similarities; for distances it is uint8,
    uint16 or uint32, by default the narrowest that holds the length of the longest text.

    Raises:
        TypeError: a text is not a str; the message says which of the queries or choices, and nothing of what it is.
        ValueError: `dtype`, or that of `out`, is none of those, or cannot hold a distance of texts that long; `out` is of
            another shape, not contiguous, or not writable.
    """
    asked = Texts(queries, "queries")
    packed = choices if isinstance(choices, Choices) else Choices(choices)
    room = _room((len(asked), len(packed)), scorer, dtype, max(asked.longest, packed.longest), out)
    matching.cdist(asked, packed, matching.METRICS[scorer.name], room)
    return room


def cpdist(
    queries: Sequence[str],
    choices: Sequence[str],
    scorer: Scorer,
    *,
    dtype: npt.DTypeLike | None = None,
    out: Matrix | None = None,
) -> Matrix:
    """Compare each query with the choice of the same position: an array of shape (len(queries),). The rest as for `cdist`.

    Raises:
        TypeError: as `cdist`.
        ValueError: as `cdist`; there are more of the ones than of the others.
    """
    asked, offered = Texts(queries, "queries"), Texts(choices, "choices")
    room = _room((len(asked),), scorer, dtype, max(asked.longest, offered.longest), out)
    matching.cpdist(asked, offered, matching.METRICS[scorer.name], room)
    return room


def _room(shape: tuple[int, ...], scorer: Scorer, dtype: npt.DTypeLike | None, longest: int, out: Matrix | None) -> Matrix:
    if out is not None:
        if out.shape != shape or dtype not in (None, out.dtype):
            raise ValueError("out: must have a row a query, an item a choice, and the type that is asked for")
        if not (out.flags.c_contiguous and out.flags.writeable):
            raise ValueError("out: must be contiguous and writable")
        return out
    if dtype is None:
        dtype = next(d for d in _DISTANCES if longest <= np.iinfo(d).max) if scorer.counts_edits else np.float32
    return np.empty(shape, dtype)
