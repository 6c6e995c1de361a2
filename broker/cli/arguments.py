"""Arguments that more than one command takes: those of a question, and the encoding of files."""

from __future__ import annotations

import codecs
import sys
from typing import Annotated

import typer

Arguments = Annotated[list[str] | None, typer.Argument(help="key=value …; key=- reads it from standard input.")]


def given(arguments: list[str] | None) -> dict[str, str]:
    """Return arguments by name, reading a line of standard input for each ``-``: a command line is seen by every user."""
    pairs = {}
    for argument in arguments or ():
        name, equals, value = argument.partition("=")
        if not equals:
            raise typer.BadParameter("arguments are key=value")
        pairs[name] = sys.stdin.readline().strip() if value == "-" else value
    return pairs


def checked_encoding(encoding: str) -> str:
    """Return the name of an encoding; "" is none given. Raises typer.BadParameter for what is no encoding."""
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        raise typer.BadParameter("--encoding: is not the name of an encoding") from None
    return encoding
