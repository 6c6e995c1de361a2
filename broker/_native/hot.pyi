"""What every method that a front answers has in common: the handler of a front (`ext/hot.pyx`).

It answers only where the core would give the same answer, and declines until it has been given all that it reads: policy,
counters, cache and clock.
"""

from collections.abc import Sequence
from typing import Any

from broker._native.counters import Counters
from broker._native.front import Handler
from broker._native.plans import Plans
from broker._native.remembered import Remembered
from broker._native.shared import Board, Tally
from broker._native.trail import Trail
from broker.config import Limits

class HotMethod:
    """One method of those that a front may answer; this one never does."""

class Hot(Handler):
    """One to a front."""

    failed: bool  # reading the cache has failed since `use_cache`: it is to be opened anew

    def __init__(
        self,
        methods: Sequence[HotMethod],
        board: Board,
        tally: Tally,
        remembered: Remembered,
        limits: Limits,
        max_message_bytes: int,
        core_away_ms: int,
    ) -> None:
        """Answer by these methods, in the order of the front's paths.

        An answer that is longer than a message may be is for the core. Decline once the board's word `alive` is older than
        `core_away_ms`: revocations come by the core.
        """

    def use_policy(self, plans: Plans | None) -> None:
        """Decide by this image from now on; None: decline everything."""

    def use_counters(self, counters: Counters | None, made: int) -> None:
        """Spend from these counters, as long as the board's word `counters` is `made`."""

    def use_cache(self, environment: Any, entries: Any, core: int) -> None:
        """Read this database of an LMDB environment as long as the board's word `core` is `core`; None: decline."""

    def use_trail(self, trail: Trail | None) -> None:
        """Put down what is answered, which then leaves by `Front.release` if it waits for the disk. None: nothing."""

    def use_clock(self, anchor_ms: int) -> None:
        """Take this plus the ms since boot for the time that nobody can set."""
