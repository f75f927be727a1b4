"""For tests on the host: the lab as a function."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAB = Path(__file__).parent / "lab"
# The lab bounds itself; this only keeps a lab that hangs from hanging the tests too.
SPARE_S = 30.0


def lab(*options: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    """``lab run`` with options, ``--`` and a command."""
    return subprocess.run(
        [LAB, "run", "--timeout", str(seconds), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + SPARE_S,
    )
