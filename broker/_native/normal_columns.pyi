"""Normalisation of whole columns (ext/normal_columns.pyx): the same rules as `normalise`, without a Python object a value.

`texts` is a sequence of str, or an Arrow array of string or large_string (one chunk), in which null reads as the empty text. A
result has one `ends` a text (u32): its values stand before that place, behind those of the text before. All numbers are
little-endian. Both functions raise `TypeError` for anything else and `MemoryError`.
"""

from collections.abc import Sequence
from typing import Protocol, final

class ArrowArray(Protocol):
    """What speaks Arrow's C data interface."""

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...

@final
class NameColumns:
    """Code points (u32) and readings (u16) of all names, one `surnames` (u8) and one `flags` (u8) a name."""

    @property
    def ends(self) -> bytes: ...
    @property
    def codes(self) -> bytes: ...
    @property
    def readings(self) -> bytes: ...
    @property
    def surnames(self) -> bytes: ...
    @property
    def flags(self) -> bytes: ...

def person_names(texts: Sequence[str] | ArrowArray) -> NameColumns:
    """Normalise the names of people."""

@final
class AddressColumns:
    """Kinds (u8) and hashes (u64) of the parts of all addresses."""

    @property
    def ends(self) -> bytes: ...
    @property
    def kinds(self) -> bytes: ...
    @property
    def hashes(self) -> bytes: ...

def addresses(texts: Sequence[str] | ArrowArray) -> AddressColumns:
    """Normalise addresses."""
