"""What ``library.py`` prints, as numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.decompile.interpreters import running


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One outcome for one cause: how many proofs did not hold, CPU seconds of each function, and
    the names of some."""

    outcome: str
    cause: str
    wrong: int
    seconds: list[float]
    names: list[str]

    @property
    def functions(self) -> int:
        """How many."""
        return len(self.seconds)


def measured(python: str, every: int, seconds: float) -> list[Outcome]:
    """Decompile each so-manieth file of the library of a Python."""
    lines = running.run(python, "library.py", str(every), seconds=seconds).splitlines()
    keys = ("outcome", "cause", "wrong", "seconds", "names")
    return [Outcome(**dict(zip(keys, json.loads(line), strict=True))) for line in lines]
