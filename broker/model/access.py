"""What is known of one access, for the log: the path of a call fills it in as it goes, until it is put down at the end.

What must not go in here: writing it down (audit/accesses.py), and anything that decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.model.call import Authority, Request
from broker.model.catalogue import Interface


@dataclass(slots=True)
class Access:
    """One access; what is not known yet, or never will be, is empty."""

    request: Request
    began_ns: int  # monotonic clock
    consumer: str = ""
    interface: Interface | None = None  # as it was resolved: a request may name what there is not
    authority: Authority | None = None
    snapshot_version: int = 0
    subject: str = ""  # its identifier, which is put down as a keyed digest only
    key: bytes = b""  # of the answer; likewise
    is_done: bool = False  # the provider has been asked to do something that must not be done twice
