"""Tells the fronts, on the board, what is in force in the core. A word changes after what it is about has.

What must not go in here: what fronts make of it (follow.py).
"""

from __future__ import annotations

import time
from pathlib import Path

from broker.exchange import Exchange
from broker.serve.board import open_board, snapshot_word


class Announcer:
    """Writes the board of one core."""

    def __init__(self, exchange: Exchange, data_dir: Path) -> None:
        self._exchange = exchange
        self._board = open_board(data_dir)

    def begin(self) -> None:
        """A core serves: the cache may be another one, and calls are let in."""
        self.tell()
        self._board["draining"] = 0
        self._board["core"] = time.time_ns()

    def tell(self) -> None:
        """Say which snapshot is in force, where the counters are, and since when proofs are good."""
        exchange = self._exchange
        exchange.identifier.forget_what_may_have_changed(exchange.snapshot)
        self._board["trust"] = exchange.identifier.generation
        self._board["counters"] = exchange.limits.made
        self._board["snapshot"] = snapshot_word(exchange.snapshot.digest)

    def drain(self) -> None:
        """No new call is let in: fronts pass all of them on, to be refused."""
        self._board["draining"] = 1
