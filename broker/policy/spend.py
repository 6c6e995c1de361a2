"""Step 5 of a call: the grant's rate. One virtual clock a grant (GCRA, ITU-T I.371): a burst at once, then the rate.

Refused calls cost nothing, so a caller that keeps asking is not pushed further back. Monotonic time only. What must not go in
here: quotas that must survive a restart (they come with the durable counters).
"""

from __future__ import annotations

from broker.errors import RateExceeded
from broker.model.catalogue import Grant


class Rates:
    """When each grant's allowance is whole again, in monotonic seconds."""

    def __init__(self) -> None:
        self._whole_at: dict[tuple[str, float, int], float] = {}

    def spend(self, grant: Grant, now_s: float) -> None:
        """Take one call off the grant's allowance.

        Raises:
            RateExceeded: the allowance is used up; carries the time until one more call is allowed.
        """
        interval = 1.0 / grant.rate_per_second
        # The terms are part of the key: what was spent at a slower rate must not outlast it.
        terms = (grant.id, grant.rate_per_second, grant.burst)
        whole_at = max(self._whole_at.get(terms, now_s), now_s) + interval
        wait = whole_at - now_s - grant.burst * interval
        if wait > 1e-9:
            raise RateExceeded(grant.id, "rate_per_second", wait)
        self._whole_at[terms] = whole_at

    def forget_except(self, grants: set[str]) -> None:
        """Drop what belongs to grants that no longer exist."""
        self._whole_at = {terms: at for terms, at in self._whole_at.items() if terms[0] in grants}
