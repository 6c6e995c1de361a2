"""Merkle trees of RFC 6962 §2.1 with SHA-256 or SM3 (ext/merkle_trees.c). A hash is 32 bytes, an algorithm SHA256 or SM3.

Every function raises ValueError for an algorithm that is neither, or that libcrypto does not offer.
"""

from collections.abc import Buffer, Iterable, Sequence  # type: ignore[attr-defined]
from typing import final

SHA256: int  # 1
SM3: int  # 2
HASH_BYTES: int  # 32

def digest(data: Buffer, algorithm: int = 1, prefix: int | None = None) -> bytes:
    """Return H(data), or H(prefix | data) with a prefix of one byte."""

def leaf_hash(data: Buffer, algorithm: int = 1) -> bytes:
    """Return the hash of a leaf, H(0x00 | data)."""

def root(leaves: Iterable[Buffer], algorithm: int = 1) -> bytes:
    """Return the root over the data of leaves."""

def root_of_hashes(hashes: bytes, algorithm: int = 1) -> bytes:
    """Return the root over hashes of leaves, 32 bytes each, one after the other. ValueError: it is not so many bytes."""

def root_of_records(packed: Buffer, count: int, algorithm: int = 1) -> bytes:
    """Return the root over `count` records, each behind its length (4 bytes, big-endian). ValueError: lengths do not add up."""

def path(leaves: Sequence[Buffer], index: int, algorithm: int = 1) -> list[bytes]:
    """Return the hashes from a leaf's sibling to the root (§2.1.1), of leaves given by their data. IndexError: no such leaf."""

def path_of_hashes(hashes: bytes, index: int, algorithm: int = 1) -> list[bytes]:
    """As `path`, for leaves given by their hashes, 32 bytes each, one after the other."""

def check(leaf: Buffer, index: int, size: int, path: Iterable[bytes], root: bytes, algorithm: int = 1) -> bool:
    """Whether a path proves that the data of a leaf is at this index of a tree of this size and root (RFC 9162 §2.1.3.2)."""

def check_hash(leaf: bytes, index: int, size: int, path: Iterable[bytes], root: bytes, algorithm: int = 1) -> bool:
    """As `check`, for a leaf given by its hash. ValueError: a hash is not 32 bytes."""

@final
class Tree:
    """A tree that only grows; it keeps a hash a bit of its size."""

    algorithm: int

    def __init__(self, algorithm: int = 1) -> None:
        """Begin with no leaves."""

    def __len__(self) -> int: ...
    def append(self, data: Buffer) -> None:
        """Add a leaf by its data."""

    def append_hash(self, leaf: bytes) -> None:
        """Add a leaf by its hash."""

    def root(self) -> bytes:
        """Return the root of now."""
