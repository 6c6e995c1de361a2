"""Counters against their oracle, and over processes that share them and are killed: never too many, and none lost."""

from __future__ import annotations

import contextlib
import random
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker._native.counters import Counters, Questions, decide_and_spend
from broker._native.policy import Image
from tests.image_kit import NOW_MS, granted, image_of, small_image
from tests.oracle import counters as oracle

S = 10**9
LINE_BYTES = 64
MOST = 2**40 - 1
DAY = NOW_MS // 86_400_000
LIMITS = (
    {"rate_per_second": 1.0, "burst": 1},
    {"rate_per_second": 3.0, "burst": 4, "quota_per_day": 5},
    {"rate_per_second": 0.001, "burst": 1_000_000, "quota_total": 3},
    {"rate_per_second": 1_000_000.0, "burst": 2, "quota_per_day": 10**12, "quota_total": 10**12},
)
IMAGE = Image(image_of(*(granted(id=f"g{n}", **limits) for n, limits in enumerate(LIMITS))))
REFS = IMAGE.terms()


def terms_of(limits: dict[str, Any]) -> oracle.Terms:
    interval_ns = round(S / limits["rate_per_second"])
    return oracle.Terms(interval_ns, limits["burst"], limits.get("quota_per_day", 0), limits.get("quota_total", 0))


def memory(lines: int = 64) -> bytearray:
    return bytearray(LINE_BYTES * lines)


# --- one process, against the oracle ------------------------------------------------------------------------------------

WHICH = st.integers(0, len(LIMITS) - 1)
STEPS_NS = st.sampled_from(
    [0, 1, 333_333_333, 333_333_334, S - 1, S, 5 * S, 10**12, -1, -S, -3600 * S, -(10**13)]
) | st.integers(-(10**10), 10**12)
DAYS = st.sampled_from([0, 0, 0, 0, 1, -1])
AMOUNTS = st.sampled_from([0, 1, 2, 7, MOST])
STEPS = st.tuples(WHICH, STEPS_NS, DAYS, st.sampled_from(["spend", "spend", "spend", "day", "total", "look"]), AMOUNTS)


@settings(deadline=None)
@given(steps=st.lists(STEPS, max_size=80), start_ns=st.sampled_from([0, 1, 10**15, 2**61]))
@example(steps=[(2, 0, 0, "total", 1)] + 3 * [(2, 0, 0, "spend", 0)], start_ns=10**18)
@example(steps=[(0, 0, 0, "spend", 0), (0, -(10**13), 0, "spend", 0), (0, S, 0, "spend", 0)], start_ns=10**15)
@example(steps=[(1, 0, 0, "day", MOST), (1, 0, 0, "day", MOST), (1, 0, 0, "look", 0)], start_ns=1)
def test_whatever_is_done_comes_to_what_the_oracle_says(steps: list[tuple[int, int, int, str, int]], start_ns: int) -> None:
    counters = Counters(memory())
    limits = [oracle.Limits(terms_of(one)) for one in LIMITS]
    now_ns, day = start_ns, DAY
    for which, step_ns, days, what, amount in steps:
        now_ns, day = max(0, now_ns + step_ns), day + days
        native, expected = REFS[which], limits[which]
        if what == "spend":
            assert counters.spend(IMAGE, native, now_ns, day) == expected.spend(now_ns, day)
        elif what != "look":
            counters.deposit(IMAGE, native, day if what == "day" else 0, amount, 3)
            expected.deposit(day if what == "day" else 0, amount, 3)
        assert counters.remaining(IMAGE, native, now_ns, day) == expected.remaining(now_ns, day)


@settings(deadline=None)
@given(steps=st.lists(st.integers(0, 2 * S), min_size=1, max_size=200), rate=st.sampled_from([0.5, 7.0, 1000.0]))
def test_never_more_than_the_burst_and_the_rate_allow(steps: list[int], rate: float) -> None:
    image = Image(image_of(granted(rate_per_second=rate, burst=3)))
    counters, now_ns, spent = Counters(memory()), 0, 0
    for step in steps:
        now_ns += step
        while counters.spend(image, image.terms()[0], now_ns, DAY)[0] == oracle.SPENT:
            spent += 1
        assert spent <= 3 + now_ns // round(S / rate)


def test_the_wait_is_when_one_more_call_is_allowed() -> None:
    counters, ref = Counters(memory()), REFS[0]
    assert counters.spend(IMAGE, ref, 10 * S, DAY) == (oracle.SPENT, 0)
    assert counters.spend(IMAGE, ref, 10 * S + 1, DAY) == (oracle.RATE_USED_UP, S - 1)
    assert counters.spend(IMAGE, ref, 11 * S - 1, DAY) == (oracle.RATE_USED_UP, 1)
    assert counters.spend(IMAGE, ref, 11 * S, DAY) == (oracle.SPENT, 0)


def test_a_call_refused_for_one_limit_is_taken_off_none() -> None:
    counters, ref = Counters(memory()), REFS[3]
    counters.deposit(IMAGE, ref, DAY, 5, 0)
    for _ in range(100):
        assert counters.spend(IMAGE, ref, S, DAY) == (oracle.TOTAL_USED_UP, 0)
    assert counters.remaining(IMAGE, ref, S, DAY) == (2, 5, 0)


def test_what_was_given_for_a_day_is_gone_on_the_next_and_stays_gone_when_the_clock_goes_back() -> None:
    counters, ref = Counters(memory()), REFS[1]
    counters.deposit(IMAGE, ref, DAY, 2, 1)
    assert counters.spend(IMAGE, ref, S, DAY + 1) == (oracle.DAY_USED_UP, 0)
    assert counters.remaining(IMAGE, ref, S, DAY + 1) == (4, 0, None)
    assert counters.spend(IMAGE, ref, S, DAY) == (oracle.SPENT, 0), "nobody has begun the next day"
    counters.deposit(IMAGE, ref, DAY + 1, 2, 0)
    assert counters.spend(IMAGE, ref, S, DAY) == (oracle.DAY_USED_UP, 0)
    assert counters.spend(IMAGE, ref, S, DAY + 1) == (oracle.SPENT, 0)


def test_a_line_that_no_clock_of_ours_wrote_heals() -> None:
    held = memory(1)
    counters, ref = Counters(held), REFS[0]
    struct.pack_into("<QQ", held, 0, IMAGE.term(ref)["counter"], 2**64 - 1)
    assert counters.spend(IMAGE, ref, 5 * S, DAY) == (oracle.RATE_USED_UP, S)
    assert counters.spend(IMAGE, ref, 6 * S, DAY) == (oracle.SPENT, 0)


@pytest.mark.parametrize(("now_ns", "day"), [(2**62, 0), (-1, 0), (0, 2**24), (0, -1)])
def test_a_time_that_would_overflow_is_refused(now_ns: int, day: int) -> None:
    counters = Counters(memory())
    for ask in (counters.spend, counters.remaining):
        with pytest.raises(ValueError, match="now_ns"):
            ask(IMAGE, REFS[1], now_ns, day)
    if now_ns == 0:
        with pytest.raises(ValueError, match="now_ns"):
            counters.deposit(IMAGE, REFS[1], day, 1, 0)
    assert counters.lines()[0] == 0


@pytest.mark.parametrize(("amount", "beyond"), [(2**40, 0), (0, 2**40), (2**64 - 1, 0)])
def test_a_quota_of_more_than_a_day_holds_is_refused(amount: int, beyond: int) -> None:
    with pytest.raises(ValueError, match="quota"):
        Counters(memory()).deposit(IMAGE, REFS[1], DAY, amount, beyond)


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 63, 65, 3 * 64, 7 * 64, 64 + 32])
def test_memory_that_is_no_power_of_two_lines_is_refused_and_let_go(size: int) -> None:
    data = bytearray(size)
    with pytest.raises(ValueError, match="power of two"):
        Counters(data)
    data += b"more"


def test_memory_that_is_read_only_in_pieces_or_not_aligned_is_refused() -> None:
    for bad in (bytes(64), memoryview(bytearray(128))[::2]):
        with pytest.raises(BufferError):
            Counters(bad)
    with pytest.raises(ValueError, match="power of two"):
        Counters(memoryview(bytearray(72))[4:68])


def test_when_every_line_is_taken_it_is_said_and_the_others_still_count() -> None:
    counters = Counters(memory(2))
    for ref in REFS[:2]:
        counters.remaining(IMAGE, ref, S, DAY)
    assert counters.lines() == (2, 2)
    for ask in (counters.spend, counters.remaining):
        with pytest.raises(MemoryError):
            ask(IMAGE, REFS[2], S, DAY)
    assert counters.spend(IMAGE, REFS[0], S, DAY) == (oracle.SPENT, 0)


def test_a_ref_that_is_no_term_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        Counters(memory()).spend(IMAGE, REFS[0] + 1, S, DAY)


def test_closed_counters_are_not_touched() -> None:
    data = memory()
    counters = Counters(data)
    with pytest.raises(BufferError):
        data.clear()
    counters.close()
    counters.close()
    data.clear()
    uses: list[Callable[[], object]] = [
        lambda: counters.spend(IMAGE, REFS[0], S, DAY),
        lambda: counters.deposit(IMAGE, REFS[0], DAY, 1, 0),
        lambda: counters.remaining(IMAGE, REFS[0], S, DAY),
        lambda: counters.adopt(Counters(memory()), IMAGE),
        lambda: Counters(memory()).adopt(counters, IMAGE),
        lambda: decide_and_spend(IMAGE, counters, Questions([]), NOW_MS, NOW_MS, S, bytearray()),
        counters.lines,
    ]
    for use in uses:
        with pytest.raises(ValueError, match="closed"):
            use()


def test_adopted_lines_count_on_and_only_those_of_the_image_are() -> None:
    data = memory(8)
    struct.pack_into("<Q", data, 5 * LINE_BYTES, 5)  # of a grant that nobody has any more
    counters, other = Counters(data), Counters(memory(16))
    counters.deposit(IMAGE, REFS[1], DAY, 3, 9)
    counters.spend(IMAGE, REFS[1], S, DAY)
    other.adopt(counters, IMAGE)
    assert other.lines() == (1, 16)
    assert other.remaining(IMAGE, REFS[1], S, DAY) == (3, 11, None)


def test_what_has_no_room_is_not_adopted_in_silence() -> None:
    counters, full = Counters(memory(8)), memory(1)
    counters.spend(IMAGE, REFS[1], S, DAY)
    struct.pack_into("<Q", full, 0, 1)
    with pytest.raises(MemoryError):
        Counters(full).adopt(counters, IMAGE)


# --- many at once -----------------------------------------------------------------------------------------------------

QUESTION = (0, b"i", 0, b"P1", b"M1", b"U1", 0)


def test_many_questions_come_to_the_same_as_one_after_the_other() -> None:
    image, draw = Image(small_image()), random.Random(1)
    texts = (b"", b"i", b"P1", b"M1", b"U1", b"other")
    asked = [
        (
            draw.choice((None, 0, 1, 2)),
            draw.choice((b"i", b"j")),
            draw.choice((0, 1, 2)),
            *draw.choices(texts, k=3),
            draw.randrange(8),
        )
        for _ in range(3000)
    ]
    verdicts, counters, single = bytearray(len(asked)), Counters(memory()), Counters(memory())
    decide_and_spend(image, counters, Questions(asked), NOW_MS, NOW_MS, S, verdicts)
    expected = []
    for consumer, interface, version, purpose, matter, unit, says in asked:
        texts_of = (text.decode() for text in (purpose, matter, unit))
        verdict, ref = image.decide(consumer, interface.decode(), version, *texts_of, says, NOW_MS, NOW_MS)
        spent = single.spend(image, ref, S, image.day(NOW_MS))[0] if ref is not None else 0
        expected.append(16 + spent if spent else verdict)
    assert [*verdicts] == expected
    assert {0, 5, 17} <= set(expected)


def test_many_questions_say_when_every_line_is_taken() -> None:
    taken, verdicts = memory(1), bytearray(1)
    struct.pack_into("<Q", taken, 0, 1)
    counters = Counters(taken)
    decide_and_spend(Image(small_image()), counters, Questions([QUESTION]), NOW_MS, NOW_MS, S, verdicts)
    assert verdicts == bytes([20])


def test_questions_hold_their_texts_whatever_becomes_of_what_they_were_made_of() -> None:
    asked: list[Any] = [[0, b"i", 0, bytes([80, 49]), b"M1", b"U1", 0] for _ in range(100)]  # b"P1", each its own
    questions = Questions(asked)
    for one in asked:
        one[1:] = []
    asked.clear()
    verdicts = bytearray(len(questions))
    decide_and_spend(Image(small_image()), Counters(memory()), questions, NOW_MS, NOW_MS, S, verdicts)
    assert verdicts.count(5) == 20, "the burst"


@pytest.mark.parametrize(
    "bad", [(0,), (0, "i", 0, b"", b"", b"", 0), (0, None, 0, b"", b"", b"", 0), (-1, *QUESTION[1:]), None]
)
def test_questions_of_another_form_are_refused(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        Questions([QUESTION, bad])


def test_as_many_verdicts_as_questions_and_times_that_do_not_overflow() -> None:
    image, counters, questions = Image(small_image()), Counters(memory()), Questions([QUESTION])
    with pytest.raises(ValueError, match="as many"):
        decide_and_spend(image, counters, questions, NOW_MS, NOW_MS, S, bytearray(2))
    for earliest, latest, now_ns in ((2**53, NOW_MS, S), (NOW_MS, 2**53, S), (NOW_MS, NOW_MS, 2**62), (-1, -86_400_000, S)):
        with pytest.raises(ValueError, match=r"time|now_ns"):
            decide_and_spend(image, counters, questions, earliest, latest, now_ns, bytearray(1))


def test_counters_in_use_by_another_thread_cannot_be_closed() -> None:
    """The other thread works without the interpreter lock; what it writes to must not go away under it."""
    image, questions = Image(small_image()), Questions([QUESTION] * 200_000)
    for _ in range(20):
        data, verdicts = memory(), bytearray(len(questions))
        counters, begun = Counters(data), threading.Event()
        thread = threading.Thread(target=_settle, args=(image, counters, questions, verdicts, begun))
        thread.start()
        begun.wait()
        try:
            counters.close()
            data.clear()
        except BufferError:
            thread.join()
            assert 0 not in verdicts
            counters.close()
            data.clear()
            return
        thread.join()  # it came too late or had ended; again


def _settle(image: Image, counters: Counters, questions: Questions, verdicts: bytearray, begun: threading.Event) -> None:
    begun.set()
    with contextlib.suppress(ValueError):  # closed before it began
        decide_and_spend(image, counters, questions, NOW_MS, NOW_MS, S, verdicts)
