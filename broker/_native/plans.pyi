"""How the arguments of each interface become a question, for a front (`ext/plans.pyx`)."""

from broker._native.policy import Image

class Plans:
    """The interface versions of an image whose cached answers a front may give."""

    def __init__(self, image: Image, interfaces: list[tuple[bytes, int, int, list[tuple[bytes, int, bool, int]]]]) -> None:
        """Take the interfaces: id, version, slot in the tally, arguments; of each its name, the number of its semantic type
        (`wire.KINDS`), whether it is required, and the greatest number of characters.

        Raises:
            ValueError: the image has no such interface, or it stands twice.
        """
