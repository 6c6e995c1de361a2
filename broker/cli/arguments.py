"""The arguments of a question as they are given on the command line, for every command that takes a question."""

from __future__ import annotations

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
