"""What a front answers of its own, on the wire (`ext/reply.pyx`): `CallResponse` from a record base, and `MatchResponse`.

What is native here is called by native code; this face is for tests, but for `origin` and `LEVELS`. Times are milliseconds
since the epoch, UTC; a `source` is that of the contract, 2 (cache) or 3 (records). Encoded fields of a `Provenance`, which may
be put one behind the other in any order, are an *origin*.
"""

from collections.abc import Mapping

LEVELS: Mapping[str, int]  # value of a `Level` -> its number in the contract

def origin(level: int, provider: bytes, interface: bytes, version: int) -> bytes:
    """Return the fields of a provenance that are the same for every answer of an interface version.

    Raises:
        ValueError: the level is negative, or the names are longer than any of the catalogue's.
    """

def call_reply(
    found: bool, payload: bytes, origin: bytes, digest: bytes | None, source: int, fetched_at_ms: int | None, age_ms: int
) -> bytes:
    """Return a `CallResponse`; the digest (32 bytes) and the moment may be left out.

    Raises:
        ValueError: the source is another, a time is not 0..2⁵³-1, the digest has another size, or the origin is
            longer than any.
    """

def match_reply(
    found: bool,
    verdicts: dict[str, tuple[int, float]],
    status: int,
    overall: int,
    origin: bytes,
    source: int,
    fetched_at_ms: int | None,
    age_ms: int,
) -> bytes:
    """Return a `MatchResponse`: verdicts and scores by the name of the field, at most 32.

    Raises:
        ValueError: as `call_reply`; or there are more verdicts, or a name is longer than 64 bytes.
    """

def read_body(data: bytes) -> tuple[bool, bytes, bytes] | None:
    """Return of the body of a cached answer whether there is a record, its payload, and its origin without the digest.

    None: it is not as `model/body.py` writes it. Bytes of `data` never raise.
    """
