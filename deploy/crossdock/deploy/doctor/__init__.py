"""`crossdock doctor`: is this host fit to run, and what would make it fitter?"""

from __future__ import annotations

from dataclasses import dataclass

from crossdock.deploy.doctor.checks import CHECKS
from crossdock.deploy.doctor.findings import Finding, Status, examine, exit_status
from crossdock.deploy.doctor.host import Host
from crossdock.deploy.doctor.report import print_json, print_table

__all__ = ["Finding", "Host", "Options", "Status", "main"]


@dataclass(frozen=True)
class Options:
    """Check this host. Exit status: 0 pass or warnings, 1 critical, 2 a check could not run."""

    json: bool = False
    """Print JSON instead of a table."""


def main(options: Options) -> int:
    """Check the host, print the findings, return the exit status."""
    findings = examine(CHECKS, Host())
    if options.json:
        print_json(findings)
    else:
        print_table(findings)
    return exit_status(findings)
