"""The folder of a run: new, or one that the same run began and that is gone on with."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from crossdock.workloads.runner.errors import FolderRefused
from crossdock.workloads.runner.options import RunOptions

JOB = "job.json"


def prepare(method: str, options: RunOptions) -> Path:
    """Make the folder, or check that it holds this very run where it is to be resumed.

    Raises:
        FolderRefused: it holds something else; nothing in it was touched.
    """
    job = {"method": method, "options": options.decisive()}
    folder = options.output or Path("runs")
    try:
        if options.output is None:
            folder = _fresh(method)
        folder.mkdir(parents=True, exist_ok=True)
        begun = not any(folder.iterdir()) and _begin(folder, job)
    except OSError as error:
        raise FolderRefused(f"{folder} cannot be used: {error.strerror}") from error
    if begun:
        return folder
    if not options.resume:
        raise FolderRefused(f"{folder} is not empty; name another one, or go on with --resume")
    _expect_same(folder, job)
    return folder


def _fresh(method: str) -> Path:
    """A new folder under runs/; of runs that begin in the same second each gets its own."""
    name = f"{method}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    folder, number = Path("runs") / name, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
            folder = folder.with_name(f"{name}-{number}")


def _begin(folder: Path, job: dict[str, Any]) -> bool:
    """Write down what runs here; False where another run has begun here just now."""
    try:
        with (folder / JOB).open("x") as file:
            file.write(json.dumps(job, indent=1) + "\n")
    except FileExistsError:
        return False
    return True


def _expect_same(folder: Path, job: dict[str, Any]) -> None:
    try:
        there = json.loads((folder / JOB).read_text())
        method, options = there["method"], dict(there["options"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FolderRefused(
            f"{folder} holds no run that could be resumed ({JOB}: {error}); name another folder"
        ) from error
    if method != job["method"]:
        raise FolderRefused(f"{folder} holds a run of {method}, not of {job['method']}")
    ours = json.loads(json.dumps(job["options"]))
    for name in sorted({*ours, *options}):
        if ours.get(name) != options.get(name):
            raise FolderRefused(
                f"{folder} holds a run with {name} = {options.get(name)!r}, not"
                f" {ours.get(name)!r}; give the same options, or another folder"
            )
