"""A folder in which the processes of one test meet, and what they leave in it."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path


class Job:
    """Runs programs on the stand-in."""

    def __init__(self, folder: Path, libraries: Path) -> None:
        self.folder = folder
        self._libraries = libraries

    def environment(self, **more: str) -> dict[str, str]:
        """What makes a program load the stand-in and meet the others of this job."""
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(self._libraries),
            "FAKE_VERBS_JOB": str(self.folder),
            "FAKE_VERBS_DEVICES": "rc:2",
            **more,
        }

    def run(
        self, *command: str, timeout: float = 60, environment: Mapping[str, str] | None = None
    ) -> str:
        """What a program prints; it must end well."""
        result = subprocess.run(
            command,
            env=self.environment(**(environment or {})),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert result.returncode == 0, result.stderr or result.stdout
        return result.stdout

    def objects(self) -> dict[str, int]:
        """What is open, in all processes together; kinds of which nothing is open are left out."""
        total: Counter[str] = Counter()
        for table in self.folder.glob("objects.*"):
            for line in table.read_text().splitlines():
                name, count = line.split()
                total[name] += int(count)
        return {name: count for name, count in total.items() if count != 0}

    def left_behind(self) -> list[str]:
        """The files of processes that are still there, or did not end in good order."""
        return sorted(path.name for path in self.folder.glob("process.*"))
