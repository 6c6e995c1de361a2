"""A consumer's connection as far as it is watched over; native code alone uses it (`ext/guarded.pyx`)."""

from broker._native.session import Session

class Guarded(Session):
    """What `Connection` is made of."""
