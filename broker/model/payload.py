"""What of a record is shown, as the payload of an answer. It needs no protobuf, so that a front can make one too.

What must not go in here: the answer around a payload (body.py, `broker._native.reply`), and who may be shown what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from broker.model.call import Encoding

_ENCODERS: Mapping[Encoding, Callable[[Any], bytes]] = {
    Encoding.JSON: msgspec.json.encode,
    Encoding.MSGPACK: msgspec.msgpack.encode,
}


def encoded(record: Mapping[str, Any] | None, names: Iterable[str], encoding: Encoding) -> bytes:
    """Return the payload that shows these fields of a record; what it does not hold is null. Empty where there is no record."""
    return b"" if record is None else _ENCODERS[encoding]({name: record.get(name) for name in names})


def decoded(payload: bytes) -> dict[str, Any]:
    """Return the fields that a JSON payload shows."""
    fields: dict[str, Any] = msgspec.json.decode(payload)
    return fields
