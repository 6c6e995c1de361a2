"""The protobuf wire of a hot call, and which texts are canonical already (ext/wire.pyx, ext/canonical.pxd).

What is native here is called by native code; this face is for tests. Each function either says exactly what the core would
say or declines, and who was declined asks the core:

    parse_call_request   `CallRequest.FromString` and what `services/exchange_service.py` makes of it, or None
    parse_match_request  the same for `MatchRequest` and `services/match_messages.py`
    is_canonical_text    True only where `model/semantics.py::canonical` returns the same text; False says nothing
    call_tail            what `model/body.py::wire` puts behind a cached body; never declines

Declined are unknown fields, wrong wire types, what is cut, numbers that are not in their shortest form, texts that are not
UTF-8, a name that stands twice or in an entry twice, more than 32 arguments or asserted fields, a `max_age` that stands twice,
is negative or no proper Duration, an encoding and a version beyond what there is. Texts of exceptions never hold values.
"""

from typing import TypedDict, type_check_only

KINDS: dict[str, int]  # value of a `SemanticType` -> its number, for `is_canonical_text`

@type_check_only
class Question(TypedDict):
    """What a call and a comparison both say. Texts that were not sent are ""."""

    interface: str  # or the base
    purpose: str
    matter: str
    operator: str  # as in the message; the metadata may state one too
    case_id: str
    arguments: tuple[tuple[str, str], ...]  # or the key; (name, value) as written, names strictly rising by their UTF-8

@type_check_only
class Call(Question):
    """One call as read."""

    version: int  # 0: the current one
    encoding: int  # 1 JSON, also where none was sent; 2 MessagePack
    max_age_ms: int | None  # None: not stated

@type_check_only
class Match(Question):
    """One comparison as read."""

    asserted: tuple[tuple[str, str], ...]  # as the arguments

def parse_call_request(data: bytes) -> Call | None:
    """Return the call, or None when the core is to be asked. Bytes of `data` never raise.

    Raises:
        TypeError: `data` is not bytes.
    """

def parse_match_request(data: bytes) -> Match | None:
    """Return the comparison, or None when the core is to be asked. Bytes of `data` never raise.

    Raises:
        TypeError: `data` is not bytes.
    """

def call_tail(age_ms: int) -> bytes:
    """Return the end of a `CallResponse` from the cache that is not stale and was fetched so long ago; at most 20 bytes.

    Raises:
        ValueError: the age is not 0..2⁵³-1.
    """

def is_canonical_text(kind: int, text: str) -> bool:
    """Tell whether the text is certain to be its own canonical form. A kind that is none of `KINDS` is never certain.

    Raises:
        ValueError: the kind is not 0..255, or the text cannot be encoded as UTF-8 (lone surrogates).
        TypeError: `text` is not str.
    """

def count_chars(text: str) -> int:
    """Return `len(text)`, counted in its UTF-8.

    Raises:
        ValueError: the text cannot be encoded as UTF-8.
        TypeError: `text` is not str.
    """
