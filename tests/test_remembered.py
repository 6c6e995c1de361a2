"""What callers have proved: recalled for exactly what they showed, as long as it is good and its credential is in force."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker._native.policy import Image
from broker._native.remembered import Remembered
from broker.model.snapshot import credential_of
from broker.policy.compiler import Compiler
from broker.policy.store import Changes, Revision, encode
from tests.image_kit import KEY, catalogue_of

WAYS = 8
DIGEST = hashlib.sha256(b"token").digest()


def image_with(*consumers: str) -> Image:
    return Image(Compiler().update(Changes(Revision(1, ""), encode(catalogue_of(consumers=consumers))))[0])


def credential(consumer: str) -> bytes:
    return credential_of(consumer, (KEY.id, KEY.public_key), "")


AB, B, NONE = image_with("a", "b"), image_with("b"), image_with()


def test_a_proof_stands_for_its_consumer() -> None:
    remembered = Remembered(100)
    remembered.remember(DIGEST, credential("b"), 10, 20)
    assert remembered.recall(AB, DIGEST, 15, 15) == AB.consumer(credential("b")) == 1
    assert len(remembered) == 1


def test_a_consumer_is_whoever_the_next_image_says_and_nobody_if_it_says_none() -> None:
    remembered = Remembered(100)
    remembered.remember(DIGEST, credential("b"), 10, 20)
    remembered.remember(DIGEST[::-1], credential("a"), 10, 20)
    assert [remembered.recall(image, DIGEST, 15, 15) for image in (AB, B, NONE)] == [1, 0, None]
    assert [remembered.recall(image, DIGEST[::-1], 15, 15) for image in (AB, B, NONE)] == [0, None, None]


@pytest.mark.parametrize(
    ("earliest", "latest", "good"),
    [(9, 10, False), (10, 10, True), (10, 19, True), (19, 19, True), (19, 20, False), (20, 20, False), (9, 20, False)],
)
def test_a_proof_is_good_from_its_first_moment_to_before_its_last(earliest: int, latest: int, good: bool) -> None:
    remembered = Remembered(1)
    remembered.remember(DIGEST, credential("a"), 10, 20)
    assert (remembered.recall(AB, DIGEST, earliest, latest) is not None) == good


def test_every_bit_turned_over_is_another_proof() -> None:
    remembered = Remembered(8)
    remembered.remember(DIGEST, credential("a"), 0, 20)
    for bit in range(8 * len(DIGEST)):
        other = bytearray(DIGEST)
        other[bit // 8] ^= 1 << bit % 8
        assert remembered.recall(AB, bytes(other), 15, 15) is None
    assert remembered.recall(AB, DIGEST, 15, 15) == 0


def test_a_credential_that_differs_in_a_bit_is_nobodys() -> None:
    for bit in range(128):
        other, remembered = bytearray(credential("a")), Remembered(8)
        other[bit // 8] ^= 1 << bit % 8
        remembered.remember(DIGEST, bytes(other), 0, 20)
        assert remembered.recall(AB, DIGEST, 15, 15) is None


# Several to a set: the first eight bytes say which set it is.
DIGESTS = st.integers(0, 40).map(lambda number: bytes([number % 2]) + bytes(7) + bytes([number]) * 24)
STEPS = st.lists(st.tuples(st.sampled_from(["remember", "remember", "remember", "forget", "recall"]), DIGESTS), max_size=120)


EVEN = [bytes(8) + bytes([number]) * 24 for number in range(0, 40, 2)]


@settings(deadline=None)
@given(steps=STEPS)
@example(steps=[*(("remember", one) for one in EVEN[:11]), ("forget", EVEN[0]), *(("remember", one) for one in EVEN[:10])])
@example(steps=[("remember", one) for one in (*EVEN[:8], EVEN[0], EVEN[8])])
def test_what_is_remembered_is_what_was_written_last_in_each_set(steps: list[tuple[str, bytes]]) -> None:
    remembered = Remembered(2 * WAYS)
    sets: tuple[OrderedDict[bytes, int], ...] = (OrderedDict(), OrderedDict())  # oldest first
    for now, (what, digest) in enumerate(steps, 1):
        held = sets[digest[0]]
        if what == "forget":
            remembered.forget()
            for one in sets:
                one.clear()
        elif what == "remember":
            remembered.remember(digest, credential("a"), 0, now)
            held.pop(digest, None)
            held[digest] = now
            if len(held) > WAYS:
                held.popitem(last=False)
        ends = held.get(digest, 0)
        assert (remembered.recall(AB, digest, ends - 1, ends - 1) is not None) == (ends > 0)
        assert len(remembered) == sum(len(one) for one in sets)
    for one in sets:
        assert all(remembered.recall(AB, digest, ends - 1, ends - 1) == 0 for digest, ends in one.items())


def test_a_proof_replaced_by_one_that_ends_later_is_good_for_longer() -> None:
    remembered = Remembered(8)
    for ends in (20, 30):
        remembered.remember(DIGEST, credential("a"), 0, ends)
    assert remembered.recall(AB, DIGEST, 25, 25) == 0
    assert len(remembered) == 1


@pytest.mark.parametrize(("proofs", "room"), [(0, 8), (1, 8), (8, 8), (9, 16), (1000, 1024)])
def test_there_is_room_for_so_many_and_no_more(proofs: int, room: int) -> None:
    remembered = Remembered(proofs)
    for number in range(20 * room):
        remembered.remember(number.to_bytes(8, "little") + bytes(24), credential("a"), 0, 20)
    assert len(remembered) == room
    remembered.forget()
    assert len(remembered) == 0


def test_more_than_memory_holds_is_refused() -> None:
    with pytest.raises(OverflowError):
        Remembered(-1)
    with pytest.raises(OverflowError):
        Remembered(2**64)


@pytest.mark.parametrize(
    ("digest", "of", "begins", "ends"),
    [
        (DIGEST[:31], bytes(16), 0, 1),
        (DIGEST + b"x", bytes(16), 0, 1),
        (DIGEST, bytes(15), 0, 1),
        (DIGEST, bytes(17), 0, 1),
        (DIGEST, bytes(16), 0, 0),
        (DIGEST, bytes(16), 5, 4),
        (DIGEST, bytes(16), -5, -1),
    ],
    ids=["short", "long", "short credential", "long credential", "no end", "backwards", "before 1970"],
)
def test_what_is_no_proof_is_not_kept(digest: bytes, of: bytes, begins: int, ends: int) -> None:
    remembered = Remembered(8)
    with pytest.raises(ValueError, match="must be"):
        remembered.remember(digest, of, begins, ends)
    assert len(remembered) == 0


def test_a_digest_of_another_length_is_a_mistake_of_the_caller() -> None:
    for digest in (b"", DIGEST[:31], DIGEST + b"x", None):
        with pytest.raises(ValueError, match="32 bytes"):
            Remembered(8).recall(AB, digest, 0, 0)  # type: ignore[arg-type]
