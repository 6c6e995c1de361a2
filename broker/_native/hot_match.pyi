"""`ExchangeService/Match` natively: on a record base, or on a fresh answer in the cache (`ext/hot_match.pyx`).

A comparison of more than 256 characters, or with more than 512 that are held, or with an answer of more than 16 KiB, is for the
core, as is all that a front is not sure of: one that takes long must not hold up others.
"""

from broker._native.hot import HotMethod

class HotMatch(HotMethod):
    """It has nothing of its own: what it reads is given to `Hot`."""
