"""One end of an HTTP/2 connection, and a call on its way between two of them; native code alone uses it (`ext/session.pyx`)."""

class Session:
    """One end: what `Connection` and `Upstream` share."""
