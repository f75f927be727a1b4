"""What is to be run, however it is launched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class Job:
    """A script on so many ranks, with its deadlines."""

    script: Path
    """Absolute."""
    arguments: Sequence[str]
    ranks: int
    folder: Path
    """Absolute; of the run."""
    deadline_s: float
    silence_s: float
    gather_s: float


def say(text: str) -> None:
    """A line to the user, at once, beside what the ranks print."""
    Console(stderr=True).print(
        f"crossdock: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True
    )
