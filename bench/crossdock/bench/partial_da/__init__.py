"""`crossdock bench partial-da`: adaptation to a target with some of the source's classes.

Digits of ten classes are the source, shifted digits of some classes the target. All methods start
from the same network and see the same batches; see ``trials`` for what was fixed beforehand.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.console import Console

from crossdock.bench import command, options
from crossdock.bench.command import Common
from crossdock.bench.partial_da import report
from crossdock.bench.partial_da.report import PartialRecord
from crossdock.bench.partial_da.shifts import CLASSES, SHIFTS, drawn
from crossdock.bench.partial_da.trials import STEPS, Part, Trial, trial
from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.partial_da import METHODS
from crossdock.workloads.runner import Store

SEEDS_MAX = 900
"""Seeds from 1000 on have set the hyperparameters."""


@dataclass(frozen=True)
class Options(Common):
    """Accuracy of methods of partial domain adaptation, over seeds."""

    deadline_s: float = 7200.0
    """For all trials."""
    shifts: str = ",".join(SHIFTS)
    """Of the target, with commas."""
    methods: str = ",".join(METHODS)
    """With commas; source-only must be among them."""
    classes: int = 5
    """Of the target, out of 10."""
    seeds: int = 10
    """Of pictures, classes of the target, networks and batches."""
    first_seed: int = 0
    """Others judge what was changed after these had been seen."""
    steps: int = STEPS
    """Of each training."""
    keep: Path | None = None
    """Folder that keeps each trial: a bench that was cut off goes on from there."""
    jobs: int = 1
    """Processes at work."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("shifts", SHIFTS), ("methods", METHODS)):
            _expect_known(name, getattr(self, name), known)
        if "source-only" not in self.methods.split(","):
            raise ArgumentError(f"methods are {self.methods}; source-only must be among them")
        options.between("classes", self.classes, 1, CLASSES - 1)
        options.between("seeds", self.seeds, 2, SEEDS_MAX)
        options.between("first_seed", self.first_seed, 0, SEEDS_MAX)
        options.at_least("steps", self.steps, 10)
        options.between("jobs", self.jobs, 1, 1024)

    def settings(self) -> dict[str, Any]:
        """Without what no figure depends on."""
        return {key: one for key, one in super().settings().items() if key not in ("keep", "jobs")}


def _expect_known(name: str, text: str, known: Any) -> None:
    for word in text.split(","):
        if word not in known:
            raise ArgumentError(f"{name} has {word!r}; choose from {', '.join(known)}")


def main(given: Options) -> int:
    """Measure, print, save."""
    return command.run(
        given, lambda: measured(given, Console(stderr=True)), report.lines, report.draw
    )


def measured(given: Options, console: Console) -> PartialRecord:
    """The record of all trials."""
    record = PartialRecord(
        question="partial-da", settings=given.settings(), notes=list(report.NOTES)
    )
    parts = [
        Part(drawn(shift, seed, given.classes), method, given.steps)
        for seed in range(given.first_seed, given.first_seed + given.seeds)
        for shift in given.shifts.split(",")
        for method in given.methods.split(",")
    ]
    with options.progress_on(console) as tell:
        tell(0, len(parts), "trials")
        for done in _trials(parts, given):
            record.trials.append(done)
            tell(len(record.trials), len(parts), "trials")
    record.series += report.series_of(record.trials)
    return record


def _trials(parts: list[Part], given: Options) -> Iterator[Trial]:
    """All, in order; those that were kept are not computed again."""
    kept = None if given.keep is None else Store(given.keep)
    found = {part.key: kept.get(part.key) for part in parts} if kept is not None else {}
    left = [part for part in parts if found.get(part.key) is None]
    with contextlib.ExitStack() as stack:
        fresh: Iterator[Trial] = map(trial, left)
        if given.jobs > 1:
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(context.Pool(given.jobs, torch.set_num_threads, (1,)))
            fresh = pool.imap(trial, left)
        for part in parts:
            value = found.get(part.key)
            if value is not None:
                yield msgspec.convert(value, Trial)
                continue
            done = next(fresh)
            if kept is not None:
                kept.put(part.key, msgspec.to_builtins(done))
            yield done
