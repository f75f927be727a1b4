"""`crossdock explain`: which rank does a job wait for, and why?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from crossdock.deploy.explain.gather import ask, gather
from crossdock.deploy.explain.report import print_json, print_text
from crossdock.deploy.explain.verdict import judge
from crossdock.proxy import dump

__all__ = ["Options", "main"]


@dataclass(frozen=True)
class Options:
    """Read the dumps of a job's ranks and name who is to blame. Exit status: 0 a culprit was found,
    1 none, or nothing could be read."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Dumps, or folders of dumps; none: where this user's dumps go."""
    signal: tuple[int, ...] = ()
    """Processes of this host that are asked for a dump first; those that are no ranks are left
    alone."""
    all: bool = False
    """Ask all ranks of this host, or of the job, that belong to this user."""
    job: str | None = None
    """The job to explain, where there are dumps of several; None: the latest."""
    wait_s: float = field(default=5.0)
    """How long to wait for the dumps of processes that were asked."""
    json: bool = False
    """Print JSON instead of text."""


def main(options: Options) -> int:
    """Gather the evidence, judge it, print the report, return the exit status."""
    paths = list(options.paths) or [dump.directory()]
    asked: list[str] = []
    if options.signal or options.all:
        folders, asked = ask(set(options.signal), options.job, options.wait_s)
        paths += [folder for folder in folders if folder not in paths]
    evidence = gather(paths, options.job)
    verdict = judge(evidence)
    if options.json:
        print_json(evidence, verdict, asked)
    else:
        print_text(evidence, verdict, asked)
    return 0 if verdict.culprits else 1
