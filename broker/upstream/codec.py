"""The two encodings in which providers are asked and answer, and the one place where their bytes become values.

What must not go in here: what the values mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from broker.errors import ProviderNonsense

Codec = Literal["json", "msgpack"]

_ENCODE: Mapping[Codec, Callable[[Any], bytes]] = {"json": msgspec.json.encode, "msgpack": msgspec.msgpack.encode}
_DECODE: Mapping[Codec, Callable[[bytes], Any]] = {"json": msgspec.json.decode, "msgpack": msgspec.msgpack.decode}


def encode(codec: Codec, value: Mapping[str, str]) -> bytes:
    """Return a question's parameters as bytes."""
    return _ENCODE[codec](value)


def decode(codec: Codec, body: bytes, provider: str) -> Any:
    """Return a provider's answer as plain values, whatever it calls its content type: many send JSON as text.

    Raises:
        ProviderNonsense: nothing, a login page, half an answer, bytes that are not UTF-8, or nesting without end.
    """
    if not body:
        raise ProviderNonsense(provider, "the answer is empty")
    try:
        return _DECODE[codec](body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ProviderNonsense(provider, f"the answer is not {codec}") from None
