"""What a front puts down of what it answers itself (ext/trail.pyx)."""

from typing import final

from broker._native.journal import Writer

@final
class Trail:
    """The stream of a front, and the key under which subjects and requests are put down. For one thread."""

    writer: Writer

    def __init__(self, writer: Writer, stream: str, *, key: bytes, subject: bytes, request: bytes) -> None:
        """Take over a writer.

        Args:
            stream: its name, by which records are told of, at most 31 bytes.
            key: of the digests, at most 64 bytes.
            subject: what stands before a subject where it is hashed.
            request: likewise, before the key of an answer.

        Raises:
            ValueError: the name or the key is too long.
        """
