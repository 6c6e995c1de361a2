"""Progress bars on standard error, where that is a terminal. What must not go in here: what is being done."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

_console = Console(stderr=True)


def bars() -> Progress:
    """Make room for bars, which are gone when all is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=_console, transient=True, disable=not _console.is_terminal)


def remark(shown: Progress, text: str) -> None:
    """Print a sentence on standard error, above the bars if there are some."""
    shown.console.print(text, markup=False, highlight=False, soft_wrap=True)


def advance(shown: Progress, task: TaskID, share: float) -> None:
    """Show that so much of a task is done, of what its total is."""
    shown.update(task, completed=share)
