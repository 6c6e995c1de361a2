"""Walks the batches of segments of the audit log (ext/journal_walk.h has the layout of a batch; ext/journal_check.pyx).

`segment` is a segment or a piece of one that was read, `at` and `end` are offsets in it; bytes are read through lengths that
were checked. It is not to be mapped: where a disk fails, or a file is cut meanwhile, a mapping makes SIGBUS. Methods let go of
the GIL where they hash.
"""

from collections.abc import Buffer, Sequence  # type: ignore[attr-defined]
from typing import final

ON: int  # another batch may follow
CLOSED: int  # the last batch closes the segment
END: int  # no batch begins here: four bytes of zero, or the end
FAULTS: dict[int, str]  # every other status, in words

@final
class Walk:
    """A stream after so many batches: numbers, chain hash, its tree (RFC 6962) as roots of whole subtrees. For one thread."""

    algorithm: int
    def __init__(
        self, algorithm: int, batches: int = 0, records: int = 0, chain: bytes = ..., nodes: Sequence[bytes] = ()
    ) -> None:
        """Begin behind `batches` batches; `nodes` are the roots of the whole subtrees of their tree, largest first.

        Raises:
            ValueError: no such algorithm (1 SHA-256, 2 SM3), or nodes that are not one for each bit of `batches`.
        """
    @property
    def batches(self) -> int: ...
    @property
    def records(self) -> int: ...
    @property
    def chain(self) -> bytes: ...  # after the last batch
    def begin_segment(self, header: bytes) -> None:
        """Take the header of a segment (256 bytes): its first batch has the hash of that before it. ValueError: another length.

        Without it the first batch is taken to have `chain` before it.
        """
    def root(self) -> bytes:
        """Return the root of the stream tree of now."""
    def nodes(self) -> list[bytes]:
        """Return the roots of its whole subtrees, largest first: what `__init__` takes."""
    def take(self, segment: Buffer, at: int, end: int, until: int = ..., most_bytes: int = ...) -> tuple[int, int]:
        """Check batches in full from `at` on and join them, until the stream has `until`, or some `most_bytes` were read.

        Returns:
            The offset behind the last batch that holds, and why it stopped: ON, CLOSED, END, or one of FAULTS for what stands
            there.

        Raises:
            ValueError: offsets are beyond the segment.
        """

def find_whole(segment: Buffer, at: int, end: int) -> int:
    """Return where the first whole batch (by its CRC) begins from `at` on, or -1. Raises ValueError as `Walk.take`."""

def used(segment: Buffer, at: int, end: int) -> int:
    """Return the offset behind the last byte that is not zero; `at` if there is none. Raises ValueError as `Walk.take`."""

def find_batch(segment: Buffer, at: int, end: int, sequence: int) -> int:
    """Return the offset of the batch that has the record of a sequence, or -1, looking at headers alone. Raises ValueError."""

def last_batch(segment: Buffer, at: int, end: int) -> tuple[int, int, int] | None:
    """Return where the last batch begins and ends, and its number, by headers alone; None without one. Raises ValueError."""

def header_hashes(segment: Buffer, at: int, end: int, algorithm: int) -> bytes:
    """Return the leaf hashes of the stream tree of the batches here, one after the other. Raises ValueError."""

def records_at(segment: Buffer, at: int, end: int) -> list[tuple[int, bytes]]:
    """Return the records of the batch at an offset, each with its own offset (that of its length).

    Raises:
        ValueError: no batch begins there, its lengths do not add up, or offsets are beyond the segment.
    """
