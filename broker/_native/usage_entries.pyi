"""Entries of the index of usage (`broker/audit/usage.py` says what they are), made of records of the log."""

def entries(
    found: list[tuple[int, bytes]], first: int, stream: int, segment: int
) -> tuple[list[tuple[bytes, bytes]], list[tuple[int, int, bytes]]]:
    """Return keys and values for records that follow one another from a sequence on.

    Args:
        found: the offset and the bytes of each record.
        first: the sequence of the first one.
        stream: the number that the index has for the stream.
        segment: the segment that they stand in.

    Returns:
        Keys and values, and for the records that are to be looked at one by one (INTENTs, those with an INTENT or a class of
        embargo, and what is not as writers write it) their sequence, offset and bytes. A record about nobody is in neither.

    Raises:
        ValueError: a number is beyond what an entry has room for.
    """
