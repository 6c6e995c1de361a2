"""Read masks (AIP-157): which fields of a message somebody wants. What must not go in here: any one message."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from broker.errors import InvalidRequest, Violation

_ALL = "*"
_PATH = re.compile(r"[a-z][a-z0-9_]{0,63}(\.[a-z][a-z0-9_]{0,63}){0,7}")  # what could be one; anything else is not repeated

M = TypeVar("M", bound=Message)


def check(mask: FieldMask, kind: type[Message]) -> None:
    """Refuse a mask that names what a message does not have.

    Raises:
        InvalidRequest: it does; every such path is named.
    """
    if list(mask.paths) == [_ALL]:
        return
    described: Any = kind.DESCRIPTOR
    unknown = {path for path in mask.paths if not FieldMask(paths=[path]).IsValidForDescriptor(described)}
    fields = sorted({f"read_mask.{path}" if _PATH.fullmatch(path) else "read_mask" for path in unknown})
    if fields:
        raise InvalidRequest(*(Violation(field, f"is not a field of {described.name}") for field in fields))


def masked(mask: FieldMask, message: M) -> M:
    """Return the message with the wanted fields only; all of it if the mask is empty or "*"."""
    if not mask.paths or list(mask.paths) == [_ALL]:
        return message
    wanted = type(message)()
    mask.MergeMessage(message, wanted)
    return wanted
