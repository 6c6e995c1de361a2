"""placeholder"""


def demo() -> None:
    """Placeholder."""
