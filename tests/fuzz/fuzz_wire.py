"""Feeds bytes to the readers of `wire` and `reply`. Invariant: each says what protobuf and the services say, or declines.

Run as `python tests/fuzz/fuzz_wire.py --seconds 60 [--seed 1]`, best against a build with `BROKER_SANITIZE=1`. Where
atheris is installed it draws the inputs and its own options apply instead (`-max_total_time=60 corpus/`).
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from broker._native import reply, wire
from broker.v1 import exchange_pb2 as pb
from tests.fuzz import driver
from tests.test_reply import agrees as body_agrees
from tests.test_wire import (
    COMPARISON,
    EVERYDAY,
    age_of,
    argument,
    delimited,
    match_agrees,
    number,
    oracle,
    varint,
)

CHUNKS = (
    delimited(1, b"person"),
    delimited(3, "张三".encode()),
    delimited(4, b""),
    delimited(6, b"\xed\xa0\x80"),  # a surrogate, which is no text
    delimited(5, b"a" * 200),
    argument("", ""),
    argument("name", "阿卜杜拉·买买提"),
    *(argument(f"n{n}", "v" * n) for n in range(6)),
    delimited(2, delimited(2, b"v")),
    age_of(0, 0),
    age_of(600, 1_500_000),
    age_of(-1, 0),
    varint(8, 2),
    varint(9, 2**32 - 1),
    varint(10, 1),
    delimited(1, b""),
    delimited(4, delimited(1, b"name") + delimited(2, "张三".encode())),
    delimited(9, b"d" * 32),
)
SEEDS = (
    b"",
    EVERYDAY.SerializeToString(),
    pb.CallRequest(interface="i", purpose="p", arguments={f"{n:02}": "v" for n in range(32)}).SerializeToString(),
    COMPARISON.SerializeToString(),
    reply.call_reply(True, b'{"name":"x"}', reply.origin(3, b"p", b"i", 1), b"d" * 32, 3, 1_700_000_000_123, 0),
    pb.CallResponse(
        outcome=pb.OUTCOME_FOUND, payload=b"{}", provenance=pb.Provenance(provider="p", digest=b"d")
    ).SerializeToString(),
    *CHUNKS,
)
EDGES = (0, 1, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)


def check(data: bytes) -> bool:
    """One input; returns whether it was read, since a reader that declines everything would find no difference."""
    taken = match_agrees(data) | body_agrees(data)
    read = wire.parse_call_request(data)
    if read is None:
        return taken
    expected = oracle(data)
    if read != expected:
        raise AssertionError(f"native {read!r}, oracle {expected!r}, input {data.hex()}")
    return True


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Some changes, seldom none: a bit, a stretch, a number at an edge, a cut, a field put in or behind."""
    changed = bytearray(data)
    for _ in range(draw.randint(0, 4)):
        at = draw.randint(0, len(changed))
        match draw.randrange(6):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << draw.randrange(8)
            case 1:
                changed[at : at + draw.randint(0, 8)] = draw.randbytes(draw.randint(0, 8))
            case 2:
                changed[at : at + 1] = number(draw.choice(EDGES))
            case 3:
                del changed[at:]
            case 4:
                changed[at:at] = draw.choice(CHUNKS)
            case _:
                changed += draw.choice(CHUNKS)
    return bytes(changed)


if __name__ == "__main__":
    driver.main(__doc__, check, lambda draw: mutate(draw.choice(SEEDS), draw))
