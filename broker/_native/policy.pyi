"""The policy snapshot as a mapped image, and the decision over it (ext/policy.pyx, image.pxd, decision.pxd, image_check.pxd).

An image is little-endian, everything in it on multiples of 8:

    offset  0 8 bytes SDBPOLCY        16 u64 version          32 SHA-256 of bytes 0..31 and 64..
            8 u32 format, 1           24 u64 size in bytes    64 directory: twelve times u64 offset, u64 count
           12 u32 zero

    section 0 text, UTF-8                      6 slots: interface version by (symbol, version), version 0 the current one
            1 symbols: place and length        7 slots: refs by (consumer, interface)
            2 slots: symbol by text            8 refs: offsets of terms / 8, in order of grant id within a slot
            3 slots: consumer by credential    9 terms: 136 bytes, then purposes, matters, units, hours, fields, id
            4 consumers: symbols              10 offsets of the time zone, from which moment on
            5 interface versions              11 documents of the catalogue, msgpack; native code does not read them

Sections stand one behind the other, each to a multiple of 8. Tables of slots are open-addressed, a power of two, at most half
full. Verdicts, by number, are how far the grant that comes nearest to covering a call gets: 0 no grant, 1 outside its hours,
2 for verdicts only, 3 needs an operator, 4 needs a device, 5 allowed. What a call says of itself, added up: 1 it names an
operator, 2 a device, 4 it asks for a verdict.
"""

from collections.abc import Buffer, Sequence  # type: ignore[attr-defined]
from typing import Any, final

@final
class Image:
    """An open image. Look-ups cost well under a microsecond and may be made from any thread."""

    version: int
    digest: bytes  # SHA-256
    grants: int  # how many there are

    def __init__(self, data: Buffer) -> None:
        """Check an image whole and hold it: nobody can resize or unmap the buffer while this lives, and nobody may write to it.

        Raises:
            ValueError: it is no image, of another format, cut short, damaged, or contradicts itself.
            BufferError: the buffer is not in one piece.
        """

    def consumer(self, credential: bytes) -> int | None:
        """Return the number of the consumer that a credential (16 bytes, `model/snapshot.py`) stands for."""

    def consumer_id(self, consumer: int) -> str:
        """Return a consumer's identifier. Raises IndexError."""

    def decide(
        self,
        consumer: int | None,
        interface: str,
        version: int,
        purpose: str,
        matter: str,
        unit: str,
        says: int,
        earliest_ms: int,
        latest_ms: int,
    ) -> tuple[int, int | None]:
        """Return the verdict, and the ref of the term that covers the call if it is allowed.

        What begins is judged by `earliest_ms`, what ends by `latest_ms`, milliseconds since the epoch, UTC.

        Raises:
            ValueError: a text cannot be encoded as UTF-8, or a time is 2⁵³ ms or more from the epoch; so do the two below.
        """

    def day(self, at_ms: int) -> int:
        """Return the number of the day, in the time zone of the grants, that a moment lies in (1 January 1970 is 0)."""

    def next_day_ms(self, at_ms: int) -> int:
        """Return when that day ends: the first moment after this one that lies in a later day."""

    def documents(self) -> bytes:
        """Return what the compiler put there for Python."""

    def terms(self) -> list[int]:
        """Return the refs of all terms, in order of grant id and interface version."""

    def held_by(self, consumer: int) -> list[int]:
        """Return the refs of the terms that a consumer holds, itself or by a group."""

    def term(self, ref: int) -> dict[str, Any]:
        """Return what a term says, texts as texts. Raises IndexError when `ref` is no term."""

def symbol_slots(texts: Sequence[bytes]) -> bytearray:
    """Return the table of symbols by text."""

def pair_slots(ones: Buffer, others: Buffer, values: Buffer) -> bytearray:
    """Return a table by pairs of uint32; `values` has two uint32 a pair, not both 0. Pairs must differ."""

def holding_slots(consumers: Buffer, interfaces: Buffer, refs: Buffer) -> tuple[bytearray, bytearray]:
    """Return the table of refs by consumer and interface, and the refs as it points at them, for uint32 of each.

    Refs of one pair keep their order.
    """
