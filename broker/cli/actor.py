"""Who runs a command that changes what is in force: the person named in the history of what it changes."""

from __future__ import annotations

import getpass
import os
from typing import Annotated

import typer

from broker.errors import ConfigurationError, InvalidRequest
from broker.policy.standing import OPERATOR
from broker.policy.wording import signed

Actor = Annotated[str, typer.Option(help="Who does it, as the history will tell; without, the user of this machine.")]


def signature(actor: str) -> str:
    """Return under which name the history tells of what an operator did.

    Raises:
        ConfigurationError: it is too long, or not something that can be printed in a line.
    """
    try:
        return signed(OPERATOR.name, actor or _user())
    except InvalidRequest as error:
        raise ConfigurationError(f"--{error}") from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"uid-{os.getuid()}"
