"""How findings are shown."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossdock.deploy.doctor.findings import Finding, Status, exit_status

FORMAT_VERSION = 1
STYLES = {
    Status.OK: "green",
    Status.WARN: "yellow",
    Status.CRITICAL: "bold red",
    Status.UNKNOWN: "magenta",
}


def print_json(findings: Sequence[Finding]) -> None:
    """One object: a format version, the host, the findings, the exit status."""
    report = {
        "format": FORMAT_VERSION,
        "host": platform.node(),
        "exit_status": exit_status(findings),
        "findings": [asdict(finding) for finding in findings],
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def print_table(findings: Sequence[Finding]) -> None:
    """A table of what was observed, then what to do about what is not in order."""
    console = Console()
    table = Table(
        "", "check", "observed", "expected", title=f"crossdock doctor on {platform.node()}"
    )
    for finding in findings:
        status = Text(finding.status, style=STYLES[finding.status])
        table.add_row(status, finding.name, Text(finding.observed), Text(finding.expected))
    console.print(table)
    for finding in findings:
        if finding.status is not Status.OK:
            line = Text.assemble((finding.name, STYLES[finding.status]), f": {finding.fix}")
            console.print(line, soft_wrap=True)
