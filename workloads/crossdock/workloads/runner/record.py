"""result.json: what came out, and all that it depends on."""

from __future__ import annotations

import datetime
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from crossdock.proxy.provenance import git_revision, library_version
from crossdock.workloads.runner.cluster import Cluster
from crossdock.workloads.runner.options import RunOptions

FILE = "result.json"
FORMAT = 1
"""Raised when a reader of older files would misread a newer one."""
LIBRARIES = ("crossdock", "numpy", "ray", "scikit-learn", "scipy", "torch")


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows under named columns; cells are text, numbers, booleans or None."""

    columns: list[str]
    rows: list[list[Any]]


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the run that gave no value."""

    key: str
    reason: str


class Record(msgspec.Struct, kw_only=True):
    """What the file holds."""

    method: str
    options: dict[str, Any]
    seed: int
    cluster: dict[str, Any]
    result: dict[str, Any] = {}
    """What the method says, by name."""
    tables: dict[str, Table] = {}
    plots: dict[str, str] = {}
    """Names to files in the folder."""
    failed: list[Failed] = []
    resumed: int = 0
    """Parts that an earlier run had kept."""
    seconds: dict[str, float] = {}
    """What took how long, by name; ``total`` is the whole run."""
    error: str | None = None
    """Why the run ended before its end; None if it did not."""
    format: int = FORMAT
    argv: list[str] = msgspec.field(default_factory=lambda: list(sys.argv))
    started: str = msgspec.field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    )
    git: str = msgspec.field(default_factory=git_revision)
    versions: dict[str, str] = msgspec.field(
        default_factory=lambda: {
            "python": platform.python_version(),
            **{name: library_version(name) for name in LIBRARIES},
        }
    )

    def save(self, folder: Path) -> None:
        """Write the file; numbers that are not finite become text, which JSON can say."""
        text = json.dumps(_finite(msgspec.to_builtins(self)), indent=1, allow_nan=False)
        (folder / FILE).write_text(text + "\n")


def record(method: str, options: RunOptions, cluster: Cluster) -> Record:
    """A fresh record of a run that begins now."""
    return Record(
        method=method, options=options.decisive(), seed=options.seed, cluster=asdict(cluster)
    )


def load(folder: Path) -> Record:
    """Read what ``save`` wrote; ValueError for a file of another format."""
    read = msgspec.json.decode((folder / FILE).read_bytes(), type=Record)
    if read.format != FORMAT:
        raise ValueError(f"{folder / FILE} has format {read.format}, but this reads {FORMAT}")
    return read


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and value - value != 0:
        return str(value)
    return value
