"""The rate of a grant against a model: never more than burst + rate * time, and the retry time is right to the millisecond."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import RateExceeded
from broker.policy.spend import Rates
from tests.support.catalogue import grant


def _allowed(rates: Rates, which: object, at_s: float) -> bool:
    try:
        rates.spend(which, at_s)  # type: ignore[arg-type]
    except RateExceeded:
        return False
    return True


def test_a_burst_then_the_rate() -> None:
    rates, slow = Rates(), grant(rate_per_second=2.0, burst=3)
    assert [_allowed(rates, slow, 100.0) for _ in range(4)] == [True, True, True, False]
    assert [_allowed(rates, slow, 100.5) for _ in range(2)] == [True, False]


def test_the_retry_time_is_when_one_more_call_is_allowed() -> None:
    rates, slow = Rates(), grant(rate_per_second=0.5, burst=1)
    rates.spend(slow, 10.0)
    with pytest.raises(RateExceeded) as refusal:
        rates.spend(slow, 10.5)
    wait = refusal.value.retry_after_s
    assert wait == pytest.approx(1.5)
    assert not _allowed(rates, slow, 10.5 + wait - 0.001)
    assert _allowed(rates, slow, 10.5 + wait)


@given(st.floats(0.1, 1000), st.integers(1, 50), st.lists(st.floats(0, 2, allow_nan=False), min_size=1, max_size=200))
def test_never_more_than_burst_and_rate_allow(rate: float, burst: int, pauses: list[float]) -> None:
    rates, bounded = Rates(), grant(rate_per_second=rate, burst=burst)
    now = start = 5.0
    allowed = 0
    for pause in pauses:
        now += pause
        allowed += _allowed(rates, bounded, now)
        assert allowed <= burst + rate * (now - start) + 1e-6


def test_a_raised_rate_holds_from_the_next_call_on() -> None:
    rates = Rates()
    assert _allowed(rates, grant(rate_per_second=0.001, burst=2), 0.0)
    assert _allowed(rates, grant(rate_per_second=0.001, burst=2), 0.0)
    assert not _allowed(rates, grant(rate_per_second=0.001, burst=2), 0.1)
    faster = grant(rate_per_second=1000.0, burst=2)
    assert _allowed(rates, faster, 0.2)


def test_grants_do_not_share_and_gone_ones_are_forgotten() -> None:
    rates = Rates()
    one, other = grant(id="one", rate_per_second=1.0, burst=1), grant(id="other", rate_per_second=1.0, burst=1)
    assert _allowed(rates, one, 0.0)
    assert _allowed(rates, other, 0.0)
    rates.forget_except({"one"})
    assert not _allowed(rates, one, 0.0)
    assert _allowed(rates, other, 0.0)
