"""Every state at both sides of every bound, and the bounds of every kind of answer."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cache.freshness import Bounds, State, bounds, judge
from broker.model.catalogue import Freshness

STORED = 1_000_000
FULL = Freshness(
    cacheable=True,
    ttl_s=100,
    negative_ttl_s=10,
    stale_while_revalidate_s=30,
    stale_if_error_s=60,
    jitter_ratio=0.1,
)


class Times(msgspec.Struct, frozen=True):
    stored_at: int
    fresh_until: int
    revalidate_until: int
    error_until: int


def times(fresh: int = 100, revalidate: int = 200, error: int = 300) -> Times:
    return Times(STORED, STORED + fresh, STORED + revalidate, STORED + error)


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_a_record_has_its_ttl_and_both_stale_windows_after_it():
    assert bounds(FULL, True, STORED, 0.0) == Bounds(STORED + 100_000, STORED + 130_000, STORED + 160_000)


def test_no_record_has_a_ttl_of_its_own_and_no_stale_windows():
    assert bounds(FULL, False, STORED, 0.0) == Bounds(STORED + 10_000, STORED + 10_000, STORED + 10_000)


@pytest.mark.parametrize(("spread", "ttl_ms"), [(-1.0, 90_000), (-0.5, 95_000), (1.0, 110_000)])
def test_the_ttl_is_spread_and_the_stale_windows_move_with_it(spread, ttl_ms):
    assert bounds(FULL, True, STORED, spread) == Bounds(STORED + ttl_ms, STORED + ttl_ms + 30_000, STORED + ttl_ms + 60_000)


@pytest.mark.parametrize(
    ("freshness", "found"),
    [
        (Freshness(), True),
        (Freshness(ttl_s=100, negative_ttl_s=100), True),
        (Freshness(ttl_s=100, negative_ttl_s=100), False),
        (Freshness(cacheable=True), True),
        (Freshness(cacheable=True, negative_ttl_s=10), True),
        (Freshness(cacheable=True, ttl_s=10), False),
        (Freshness(cacheable=True, ttl_s=10, stale_if_error_s=60, stale_while_revalidate_s=60), False),
    ],
)
def test_what_must_not_be_kept_has_no_bounds(freshness, found):
    assert bounds(freshness, found, STORED, 0.0) is None


@pytest.mark.parametrize(("revalidate_s", "error_s"), [(5, 0), (0, 5)])
def test_a_stale_window_alone_is_worth_keeping(revalidate_s, error_s):
    freshness = Freshness(cacheable=True, stale_while_revalidate_s=revalidate_s, stale_if_error_s=error_s)
    kept = bounds(freshness, True, STORED, 1.0)
    assert kept == Bounds(STORED, STORED + revalidate_s * 1000, STORED + error_s * 1000)
    assert kept.ends_at == STORED + 5000


def test_an_entry_ends_with_the_longer_of_its_stale_windows():
    assert Bounds(1, 3, 2).ends_at == 3
    assert Bounds(1, 2, 3).ends_at == 3
    assert Bounds(4, 4, 4).ends_at == 4


@given(
    ttl=st.integers(0, 366 * 86_400),
    windows=st.tuples(st.integers(0, 86_400), st.integers(0, 86_400)),
    ratio=st.floats(0, 0.5),
    spread=st.floats(-1, 1),
    found=st.booleans(),
)
def test_bounds_never_run_backwards_and_stay_within_the_spread(ttl, windows, ratio, spread, found):
    freshness = Freshness(
        cacheable=True,
        ttl_s=ttl,
        negative_ttl_s=ttl,
        stale_while_revalidate_s=windows[0],
        stale_if_error_s=windows[1],
        jitter_ratio=ratio,
    )
    kept = bounds(freshness, found, STORED, spread)
    if kept is not None:
        assert STORED <= kept.fresh_until <= min(kept.revalidate_until, kept.error_until)
        assert abs(kept.fresh_until - STORED - ttl * 1000) <= ttl * 1000 * ratio + 1


# --- judge ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after_ms", "state"),
    [
        (0, State.FRESH),
        (99, State.FRESH),
        (100, State.STALE_REVALIDATE),
        (199, State.STALE_REVALIDATE),
        (200, State.STALE_IF_ERROR),
        (299, State.STALE_IF_ERROR),
        (300, State.DEAD),
        (10**12, State.DEAD),
    ],
)
def test_an_entry_passes_through_its_states(after_ms, state):
    assert judge(times(), STORED + after_ms, None) is state


def test_a_window_for_errors_that_ends_first_is_never_seen():
    """Inside the other window the provider is asked anyway, behind the answer."""
    entry = times(fresh=100, revalidate=300, error=200)
    assert judge(entry, STORED + 250, None) is State.STALE_REVALIDATE
    assert judge(entry, STORED + 300, None) is State.DEAD


@pytest.mark.parametrize(("after_ms", "state"), [(50, State.FRESH), (51, State.DEAD), (150, State.DEAD), (250, State.DEAD)])
def test_nothing_older_than_a_stated_age_is_served(after_ms, state):
    assert judge(times(), STORED + after_ms, 50) is state


@pytest.mark.parametrize("after_ms", [50, 150, 250, 350])
def test_an_entry_younger_than_a_stated_age_is_judged_as_without(after_ms):
    assert judge(times(), STORED + after_ms, after_ms) is judge(times(), STORED + after_ms, None)


@pytest.mark.parametrize(("before_ms", "state"), [(1, State.FRESH), (1000, State.FRESH), (1001, State.DEAD)])
def test_an_entry_from_the_future_is_dead(before_ms, state):
    assert judge(times(), STORED - before_ms, None) is state
    assert judge(times(), STORED - before_ms, 1) is state


@pytest.mark.parametrize("after_ms", [-1000, -1, 0, 1])
def test_an_age_of_nothing_is_never_the_cache(after_ms):
    assert judge(times(), STORED + after_ms, 0) is State.DEAD


@given(
    sizes=st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50)),
    now=st.integers(-1100, 200),
    max_age=st.none() | st.integers(0, 120),
)
def test_a_stated_age_never_makes_an_entry_better(sizes, now, max_age):
    fresh, revalidate, error = sizes
    entry = times(fresh, fresh + revalidate, fresh + error)
    free, bound = judge(entry, STORED + now, None), judge(entry, STORED + now, max_age)
    assert bound in (free, State.DEAD)
    assert (bound is not free) == (free is not State.DEAD and max_age is not None and (now > max_age or not max_age))
