"""How the arguments of each interface become a question, and where its answers come from, for a front (`ext/plans.pyx`)."""

from collections.abc import Sequence
from typing import Any, Protocol

from broker._native.policy import Image

class Planned(Protocol):
    """What a front knows of one interface version that it may answer."""

    @property
    def interface(self) -> bytes: ...
    @property
    def version(self) -> int: ...
    @property
    def is_held(self) -> bool:
        """Whether it is answered from a record base; else from the cache."""

    @property
    def waits(self) -> bool:
        """Whether its answers wait until their records are durable."""

    @property
    def call_slot(self) -> int:
        """Where in the tally its calls are counted."""

    @property
    def match_slot(self) -> int:
        """Where its comparisons are."""

    @property
    def origin(self) -> bytes:
        """`reply.origin` of it."""

    @property
    def arguments(self) -> list[tuple[bytes, int, bool, int]]:
        """Name, number of the semantic type (`wire.KINDS`), whether it is required, the greatest number of characters."""

    @property
    def answers(self) -> Any:
        """What tells what a record says (`broker.serve.front_answers.Answers`)."""

class Plans:
    """The interface versions of an image that a front may answer itself."""

    def __init__(self, image: Image, interfaces: Sequence[Planned]) -> None:
        """Take the interfaces.

        Raises:
            ValueError: the image has no such interface, or it stands twice.
        """
