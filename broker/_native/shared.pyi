"""Words that the core writes and fronts read (`Board`), and counts that a front writes and the core reads (`Tally`).

Both lie in memory that several processes map. Each word has one writer at a time.
"""

from collections.abc import Buffer  # type: ignore[attr-defined]

BOARD_BYTES: int
WORD_NAMES: tuple[str, ...]
SUMS_BYTES: int  # a tally is this,
SLOT_BYTES: int  # and any number of these
NAME_BYTES: int  # the greatest size of a slot's name
BUCKET_BOUNDS_S: tuple[float, ...]  # upper bounds; one bucket more is for all that is above

class Board:
    """Named words of 64 bits: `board["snapshot"]`; the names are `WORD_NAMES`."""

    def __init__(self, memory: Buffer) -> None:
        """Use memory of at least `BOARD_BYTES`. Raises ValueError: it is too small or does not begin on a multiple of 8."""

    def __getitem__(self, name: str) -> int:
        """Raises ValueError: there is no such word."""

    def __setitem__(self, name: str, value: int) -> None:
        """Raises ValueError: there is no such word; OverflowError: it does not fit 64 bits."""

class Tally:
    """What one front has answered, by interface, and how long it took."""

    size: int  # slots

    def __init__(self, memory: Buffer) -> None:
        """Use memory of `SUMS_BYTES` and whole slots. Raises ValueError: it is anything else."""

    def name(self, slot: int) -> bytes:
        """Return whose slot it is; b"" if it is nobody's. Raises IndexError."""

    def set_name(self, slot: int, name: bytes) -> None:
        """Give a slot to somebody. Raises IndexError; ValueError: the name has not 1 to `NAME_BYTES` bytes."""

    def counts(self, slot: int) -> tuple[int, int]:
        """Return how many answers had a record, and how many had none. Raises IndexError."""

    def put(self, slot: int, count: int, other: int) -> None:
        """Set both counts of a slot that no answers are counted in, the second one first. Raises IndexError."""

    def times(self) -> tuple[int, int, list[int]]:
        """Return the number of answers, the ns that they took together, and how many fell into each bucket."""
