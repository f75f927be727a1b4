"""What a check says, and what many of them together mean."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from crossdock.deploy.doctor.host import Host
from crossdock.proxy.errors import CrossdockError

OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})
"""Says something about the limit on open files, and nothing about what was looked at."""


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    status: Status
    observed: str
    expected: str
    fix: str = ""


@dataclass(frozen=True)
class Check:
    """A question to the host: its name in the report, and who answers, in one line or several."""

    name: str
    ask: Callable[[Host], Finding | list[Finding]]


def examine(checks: Iterable[Check], host: Host) -> list[Finding]:
    """Run every check; one that cannot run is a finding, never the end of the report."""
    return [finding for check in checks for finding in _ask(check, host)]


def exit_status(findings: Sequence[Finding]) -> int:
    """0 pass or warnings, 1 anything critical, 2 nothing critical but a check could not run."""
    statuses = {finding.status for finding in findings}
    if Status.CRITICAL in statuses:
        return 1
    return 2 if Status.UNKNOWN in statuses else 0


def _ask(check: Check, host: Host) -> list[Finding]:
    try:
        answer = check.ask(host)
    except (OSError, ValueError, IndexError) as error:
        return [
            Finding(
                check.name,
                Status.UNKNOWN,
                observed=f"the check could not run: {error}",
                expected="a host that answers",
                fix=_remedy(error),
            )
        ]
    return answer if isinstance(answer, list) else [answer]


def _remedy(error: Exception) -> str:
    if isinstance(error, CrossdockError):
        return "correct or remove the variable"
    if isinstance(error, OSError) and error.errno in OUT_OF_FILES:
        return "raise the limit on open files first"
    return "run it as a user who may read /proc and /sys, on Linux"
