"""A search in an index of packed records (ext/search.pyx): who may be meant by what is known, and how likely each is.

The time does not grow with how many records are alike: at most 256 candidates of a probe are compared.
"""

from collections.abc import Buffer, Sequence  # type: ignore[attr-defined]
from typing import final

from broker._native.linkage_index import KeyPlan
from broker._native.query_index import Index

@final
class Search:
    """An index, and a model to search it by. For one thread at a time."""

    def __init__(
        self, index: Index, plan: KeyPlan, levels: Buffer, pairs: Sequence[float], guards: Buffer, guarded: float
    ) -> None:
        """Put together what belongs together.

        Args:
            levels: natural logarithms of the probability of a level, doubles of shape (classes, 16 fields, 16 levels): matches,
                strangers, then those who are no match and agree on much.
            pairs: natural logarithm of the share of all pairs of a query and a record that is of each class.
            guards: as `Model.guards` has them, words of 16 bits of shape (3, 16).
            guarded: the most that the logarithm of the odds of a guarded pair can be.

        Raises:
            ValueError: they are of other shapes, or the index is of another layout.
        """

    def find(
        self, values: tuple[str | None, ...], most: int, least: float = 0.0
    ) -> list[tuple[int, float, float, int, int, int]]:
        """Return at most `most` candidates (and at most 32), the likeliest first, of a probability of `least` at least.

        `values` are texts as they were written, one for each field of the layout, None for what is not known. Of each
        candidate: its slot, its probability where at most one of all is the one meant, the logarithm of its own odds, the
        class but matches that is likeliest, the guard (0 none, 1 another name, 2 numbers that contradict one another), and
        the pattern of levels.

        Raises:
            ValueError: there are not as many values as fields, or the index is closed.
            TypeError: one of them is neither str nor None.
        """
