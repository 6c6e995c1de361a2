"""Read masks (AIP-157): which fields of a message somebody wants. What must not go in here: any one message."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from broker.errors import InvalidRequest, Violation

_MAX_PATHS = 64  # more than any message here has fields
_ALL = "*"
_PATH = re.compile(r"[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63}){0,7}")  # what could be one; anything else is not repeated

M = TypeVar("M", bound=Message)


def checked(mask: FieldMask, kind: type[Message]) -> FieldMask:
    """Return the mask with every path once, and empty for everything.

    Raises:
        InvalidRequest: it has too many paths, or some that a message of this kind does not have; every such path is named.
    """
    if len(mask.paths) > _MAX_PATHS:
        raise InvalidRequest(Violation("read_mask", f"must not have more than {_MAX_PATHS} paths"))
    canonical = FieldMask()
    if list(mask.paths) == [_ALL]:
        return canonical
    described: Any = kind.DESCRIPTOR
    unknown = {path for path in mask.paths if not FieldMask(paths=[path]).IsValidForDescriptor(described)}
    fields = sorted({f"read_mask.{path}" if _PATH.fullmatch(path) else "read_mask" for path in unknown})
    if fields:
        raise InvalidRequest(*(Violation(field, f"is not a field of {described.name}") for field in fields))
    canonical.CanonicalFormFromMask(mask)
    return canonical


def masked(mask: FieldMask, message: M) -> M:
    """Return the message with the wanted fields only, given a mask that was `checked`."""
    if not mask.paths:
        return message
    wanted = type(message)()
    mask.MergeMessage(message, wanted)
    return wanted
