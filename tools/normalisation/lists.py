"""Reads the hand-written lists. A line that begins with # is a comment.

What must not go in here: what is done with the lists.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def _lines(name: str) -> list[list[str]]:
    text = (HERE / f"{name}.txt").read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def variants() -> dict[int, int]:
    """Return variant -> standard form, by code point."""
    return {ord(variant): ord(line[0]) for line in _lines("variants") for form in line[1:] for variant in form}


def radicals() -> dict[int, int]:
    """Return radical -> ideograph, by code point."""
    return {ord(pair[0]): ord(pair[1]) for line in _lines("radicals") for pair in line}


def shapes() -> list[str]:
    """Return the classes of characters that are taken for one another."""
    return [line[0] for line in _lines("shapes")]


def surnames() -> dict[str, str]:
    """Return surname of one character -> its reading."""
    return {line[0]: line[1] for line in _lines("surnames")}


def compounds() -> dict[str, tuple[str, str]]:
    """Return surname of two characters -> its readings."""
    return {line[0]: (line[1], line[2]) for line in _lines("compounds")}


def places() -> list[str]:
    """Return short names of places."""
    return [place for line in _lines("places") for place in line]
