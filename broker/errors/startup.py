"""Why a process or a command cannot do what it was started for: one line, and an exit code of its own.

What must not go in here: failures of calls (calls.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from broker.errors.calls import BrokerError


class StartupError(BrokerError):
    """The process cannot do what it was started for. The text says what to do, in one line."""

    exit_code: ClassVar[int] = 1


class ConfigurationError(StartupError):
    """The configuration is refused."""

    exit_code = 3


class PortTaken(StartupError):
    """An address to listen on is in use or not allowed."""

    exit_code = 4


class DirectoryUnusable(StartupError):
    """A directory is missing, read-only or owned by somebody else."""

    exit_code = 5


class SecretMissing(StartupError):
    """A key or secret file is missing or unreadable."""

    exit_code = 6


class BaseBusy(StartupError):
    """Another process is writing the record base."""

    exit_code = 16


class RecordsRefused(StartupError):
    """What was to be loaded into a record base, or a base that was checked, is not right."""

    exit_code = 17

    def __init__(self, text: str, problems: Sequence[tuple[str, int, str, str]] = ()) -> None:
        super().__init__(text)
        self.problems = problems  # file, row, field, rule


class TablesRefused(StartupError):
    """Tables that were to be linked cannot be: not readable as tables, empty, or without columns to link by."""

    exit_code = 18


class AuditRefused(StartupError):
    """The audit log is not as it must be: damaged, or other than a checkpoint or a proof says."""

    exit_code = 19


class AuditRolledBack(StartupError):
    """The audit log has less than a checkpoint that was signed, or a witness has another one."""

    exit_code = 20

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: the audit log was rolled back or replaced; docs/audit.md says what to do")


class AlreadyRunning(StartupError):
    """Another instance holds the data directory."""

    exit_code = 7


class SnapshotRefused(StartupError):
    """The file of the policy snapshot is missing, damaged or too old, and there is no control plane to compile another from."""

    exit_code = 13


class RevisionWentBack(StartupError):
    """The control plane's newest revision is older than the snapshot that is or was in force."""

    exit_code = 14

    def __init__(self, version: int, in_force: int, file: str) -> None:
        super().__init__(
            f"control.url: is at revision {version}, older than the snapshot {in_force}; "
            f"if it was restored on purpose, stop the broker, remove {file} and start it again"
        )


class CatalogueRefused(StartupError):
    """A catalogue directory has errors; all of them are listed and nothing was changed."""

    exit_code = 8

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(f"{len(problems)} error(s) in the catalogue; nothing was changed")
        self.problems = problems


class BrokerUnreachable(StartupError):
    """A command needs a running broker and there is none at the address."""

    exit_code = 9
