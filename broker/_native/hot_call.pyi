"""`ExchangeService/Call` natively: from a fresh answer in the cache, or from a record base (`ext/hot_call.pyx`)."""

from broker._native.hot import HotMethod

class HotCall(HotMethod):
    """It has nothing of its own: what it reads is given to `Hot`."""
