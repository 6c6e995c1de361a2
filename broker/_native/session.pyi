"""One end of an HTTP/2 connection, and a call on its way between two of them; native code uses it (`ext/session.pyx`)."""

def live_calls() -> int:
    """Return how many calls are on their way in this process: 0 when nobody is connected."""

class Session:
    """One end: what `Connection` and `Upstream` share."""
