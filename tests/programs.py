"""Runs a program in a Python of its own: what it imports and how it ends is its business alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_program(program: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    """Run it with these folders first on its path."""
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([*map(str, folders), *([inherited] if inherited else [])])
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
