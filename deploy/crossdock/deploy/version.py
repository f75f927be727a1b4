"""`crossdock version`: the versions of everything that takes part in a run."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from crossdock.proxy import provenance

UNBUILT = "not built"
LIBRARIES = ("torch", "numpy", "msgspec")


@dataclass(frozen=True)
class Options:
    """Print the versions of everything that takes part."""

    json: bool = False
    """Print JSON instead of a table."""


def main(options: Options) -> int:
    """Print the versions."""
    found = versions()
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    table = Table(show_header=False, box=None)
    for name, version in found.items():
        table.add_row(name, version)
    Console().print(table)
    return 0


def versions() -> dict[str, str]:
    """Names and versions, in the order in which a reader asks for them."""
    build = provenance.build_facts()
    return {
        "crossdock": provenance.library_version("crossdock"),
        "git": build.get("git", UNBUILT),
        "compiler": build.get("compiler", UNBUILT),
        "build": " ".join(
            filter(None, (build.get("build_type", UNBUILT), build.get("sanitizers")))
        ),
        "python": platform.python_version(),
        **{name: provenance.library_version(name) for name in LIBRARIES},
        "kernel": platform.release(),
        "machine": platform.machine(),
    }
