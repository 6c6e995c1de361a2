"""What callers have proved before (ext/remembered.pyx): identification from memory, without Python objects.

A proof is the SHA-256 of all that a caller showed, the credential that it proved (`policy.pyi`), and from when until when that
is good. Who a credential stands for is looked up in the image each time, so what is taken out of the catalogue ends with the
next snapshot. Memory is bounded; within a set of eight what was written longest ago is forgotten first.
"""

from typing import final

from broker._native.policy import Image

@final
class Remembered:
    """A bounded memory of proofs. For one thread."""

    def __init__(self, proofs: int) -> None:
        """Make room for so many, rounded up to a power of two times eight."""

    def remember(self, digest: bytes, credential: bytes, begins_ms: int, ends_ms: int) -> None:
        """Keep a proof, in place of an earlier one of this digest.

        Raises:
            ValueError: the digest is not 32 bytes, the credential not 16, or it ends before it begins or before 1970.
        """

    def recall(self, image: Image, digest: bytes, earliest_ms: int, latest_ms: int) -> int | None:
        """Return the number of the consumer that a proof stands for now; None if it is unknown, over, or not yet good."""

    def proof(self, digest: bytes) -> tuple[bytes, int, int] | None:
        """Return credential, begin and end (ms) of what is remembered under a digest (32 bytes), whatever the time is."""

    def forget(self) -> None:
        """Forget everything."""

    def __len__(self) -> int: ...
