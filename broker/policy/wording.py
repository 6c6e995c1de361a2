"""What people write into the history of a grant: their name and their reason, kept as they are and shown again.

What must not go in here: who they are to the grant (standing.py).
"""

from __future__ import annotations

from broker.errors import InvalidRequest, Violation

# Who signs beside consumers: whoever runs the broker, and who ends what is over. No consumer may be called so.
OPERATOR, CLOCK = "operator", "clock"
MAX_ACTOR_BYTES = 128
MAX_SIGNATURE_CHARS = 256  # as the table has room for
MAX_REASON_BYTES = 1024


def signed(name: str, actor: str) -> str:
    """Return under which name a step is recorded: the consumer's or the operator's, and the person's.

    Raises:
        InvalidRequest: the person's name is missing, too long, or not something that can be printed in a line.
    """
    signature = f"{name}/{actor}"
    if not actor or not actor.isprintable():
        raise InvalidRequest(Violation("actor", "must name the person, in printable characters"))
    if len(actor.encode()) > MAX_ACTOR_BYTES or len(signature) > MAX_SIGNATURE_CHARS:
        most = min(MAX_ACTOR_BYTES, MAX_SIGNATURE_CHARS - len(name) - 1)
        raise InvalidRequest(Violation("actor", f"must not be longer than {most} bytes"))
    return signature


def worded(reason: str, *, required: bool = False) -> str:
    """Return a reason as it is recorded.

    Raises:
        InvalidRequest: it is missing where it is required, too long, or not something that can be printed in a line.
    """
    if required and not reason.strip():
        raise InvalidRequest(Violation("reason", "is required"))
    if len(reason.encode()) > MAX_REASON_BYTES or not reason.isprintable():
        raise InvalidRequest(Violation("reason", f"must be printable characters, at most {MAX_REASON_BYTES} bytes"))
    return reason
