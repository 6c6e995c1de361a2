"""What the connections of one front share: rules, counts, the handler and its methods, the way to the core.

Rules are a mapping of names to numbers; `broker.config.Front` has them with their units and defaults. A *budget* is a token
bucket: its name is the burst, its name with `_per_second` the rate at which it fills.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from broker._native.session import Session

BUDGET_NAMES: tuple[str, ...]
REASON_NAMES: tuple[str, ...]  # why a connection, or a stream of one, was ended

class Handler:
    """Answers whole requests to the methods of a front natively; this one declines them all."""

class Front:
    """The shared state of a front's connections. For one event loop."""

    core: Session | None  # the connection to the core; None while there is none

    def __init__(
        self,
        rules: Mapping[str, int],
        paths: Sequence[str],
        handler: Handler,
        unavailable: bytes,
        on_closed: Callable[[str], None],
        unaudited: bytes = b"",
    ) -> None:
        """Answer calls of the methods `paths` ("/package.Service/Method") by `handler` where it can, and relay the others.

        `unavailable` is the `grpc-status-details-bin` (base64) of a call that the core is not there for, `unaudited` that of
        one whose answer cannot be put down; `on_closed` is told the reason whenever a limit ends a connection or a stream.

        Raises:
            KeyError: a rule is missing.
            ValueError: a time is not a number of milliseconds, or there are more than 8 methods.
            OverflowError: a rule is negative or too large.
        """

    def release(self, durable: int, refused: int) -> None:
        """Let answers leave whose record is below `durable`; of the others, those below `refused` become UNAVAILABLE."""

    def take_back(self) -> None:
        """Refuse all answers that wait for their records: what they were decided by is not in force any more."""

    def tick(self) -> None:
        """End what has taken too long. To be called some times a second."""

    def drain(self) -> None:
        """Tell every connection that there will be an end; each ends with its last call, and so do new ones."""

    def counters(self) -> dict[str, Any]:
        """Return counts: open and accepted connections, calls answered, relayed, unavailable, unaudited; closed by reason."""
