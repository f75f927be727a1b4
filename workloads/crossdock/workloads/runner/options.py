"""The options that all methods share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from crossdock.proxy.errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What the dataclass of a method's options inherits.

    Raises:
        ArgumentError: a number is out of its range.
    """

    output: Path | None = None
    """Folder of the run; a new one under runs/, named by method and time, if not given."""
    resume: bool = False
    """Go on with the run that the folder holds: what it has kept is not computed again."""
    config: Path | None = None
    """TOML file of options, named as here; those of the command line win."""
    ray: str = "auto"
    """Cluster: auto (RAY_ADDRESS or one on this host, else local), local, or HOST:PORT."""
    cpus: int | None = None
    """CPUs of a local Ray; all of this host, if not given."""
    seed: int = 0
    """Of everything random."""
    deadline_s: float = 3600.0
    """Longest time in which no part of the run ends, seconds; then it stops and names them."""

    def __post_init__(self) -> None:
        if self.cpus is not None and self.cpus < 1:
            raise ArgumentError(f"--cpus {self.cpus} is too few; give 1 or more")
        if not 0 <= self.seed < 1 << 32:
            raise ArgumentError(f"--seed {self.seed} is out of range; give 0 to {(1 << 32) - 1}")
        if self.resume and self.output is None:
            raise ArgumentError("--resume goes on with a folder; name it with --output")
        if not self.deadline_s > 0:
            raise ArgumentError(f"--deadline-s {self.deadline_s} is not a time; give seconds > 0")

    def decisive(self) -> dict[str, Any]:
        """The options on which the result depends, by name, as JSON has them.

        Where and how it is computed is not among them: a run may go on elsewhere.
        """
        free = {field.name for field in fields(RunOptions)} - {"seed"}
        return {
            field.name: _plain(getattr(self, field.name))
            for field in fields(self)
            if field.name not in free
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
