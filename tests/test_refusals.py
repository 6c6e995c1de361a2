"""What a front answers by itself is what the core would make of such an error. The oracle is `services/status.py`.

What must not go in here: when a front answers so (test_fronts.py, test_front_relay.py).
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import ClassVar

import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status

from broker.errors import BrokerError
from broker.serve import refusals
from broker.services.status import to_status

NATIVE = Path(__file__).parent.parent / "ext" / "connection.pyx"


class CoreUnavailable(BrokerError):
    """The error that the core would raise, could it."""

    code: ClassVar[str] = "UNAVAILABLE"
    reason: ClassVar[str] = "CORE_UNAVAILABLE"
    retry_after_s = 1.0


def told() -> Status:
    encoded = refusals.core_unavailable()
    assert not encoded.endswith(b"="), "gRPC sends base64 without padding"
    return Status.FromString(base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True))


def expected() -> Status:
    """What the core makes of it, but the number of the request, which a front does not give."""
    trailing = dict(to_status(CoreUnavailable(refusals.CORE_AWAY), "request-1").trailing_metadata)
    status = Status.FromString(trailing["grpc-status-details-bin"])
    assert status.details[-1].Is(RequestInfo.DESCRIPTOR)
    del status.details[-1]
    return status


def test_code_and_message_are_those_of_the_core() -> None:
    assert (told().code, told().message) == (expected().code, expected().message) == (14, refusals.CORE_AWAY)


@pytest.mark.parametrize(("at", "kind"), [(0, ErrorInfo), (1, RetryInfo)])
def test_each_detail_is_that_of_the_core(at: int, kind: type) -> None:
    ours, theirs = kind(), kind()
    assert told().details[at].Unpack(ours)
    assert expected().details[at].Unpack(theirs)
    assert ours == theirs
    assert ours.ByteSize(), "it says something"


def test_the_whole_is_that_of_the_core_to_the_byte() -> None:
    assert told() == expected()
    assert told().SerializeToString(deterministic=True) == expected().SerializeToString(deterministic=True)


def test_nothing_that_a_front_says_is_unknown_to_the_contract() -> None:
    known = Status()
    known.CopyFrom(told())
    known.DiscardUnknownFields()
    assert known == told()


def test_the_message_is_the_one_of_the_native_side() -> None:
    assert f'b"{refusals.CORE_AWAY}"' in NATIVE.read_text()


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 16_383, 16_384, 70_000])
def test_lengths_of_any_size_are_written_as_protobuf_reads_them(size: int) -> None:
    assert Status.FromString(refusals._bytes(2, b"x" * size)).message == "x" * size
    assert Status.FromString(refusals._number(1, size)).code == size
