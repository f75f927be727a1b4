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
    folder = options.output or Path("runs") / f"{method}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    job = {"method": method, "options": options.decisive()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        empty = not any(folder.iterdir())
    except OSError as error:
        raise FolderRefused(f"{folder} cannot be used: {error.strerror}") from error
    if empty:
        (folder / JOB).write_text(json.dumps(job, indent=1) + "\n")
    elif not options.resume:
        raise FolderRefused(f"{folder} is not empty; name another one, or go on with --resume")
    else:
        _expect_same(folder, job)
    return folder


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
