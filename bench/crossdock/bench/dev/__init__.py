"""`crossdock bench dev`: which selector finds the best model for a target without labels.

The regression of the paper, in which density ratios are known, and digits in two kinds of shift,
in which they are not: there every selector chooses among the same adapted networks. The figures do
not depend on the machine, but for the seconds.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass

from rich.console import Console

from crossdock.bench import command, options
from crossdock.bench.command import Common
from crossdock.bench.dev import report
from crossdock.bench.dev.adaptation import RECIPES
from crossdock.bench.dev.domains import Task
from crossdock.bench.dev.report import DevRecord
from crossdock.bench.dev.toy import POWERS, Toy, toy
from crossdock.bench.dev.trials import Trial, trial

MOST = 100_000
_Toy = tuple[float, bool, int, int]
_Trial = tuple[Task, int, int]


@dataclass(frozen=True)
class Options(Common):
    """Selectors of models for a target without labels: Deep Embedded Validation and its rivals."""

    deadline_s: float = 7200.0
    """For everything."""
    tasks: str = "biased,rotated"
    """Shifts of the digits: biased subsampling, rotation by 30 degrees."""
    seeds: int = 10
    """Draws of the digits; each trains all candidates anew."""
    candidates: int = len(RECIPES)
    """The first so many of them."""
    trials: int = 1000
    """Of the regression of the paper, for each power of the weights."""
    jobs: int = 2
    """Processes at work."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.choices("tasks", self.tasks, Task)
        options.between("seeds", self.seeds, 1, MOST)
        options.between("candidates", self.candidates, 2, len(RECIPES))
        options.between("trials", self.trials, 2, MOST)
        options.between("jobs", self.jobs, 1, 1024)


def main(given: Options) -> int:
    """Run, print, save."""
    return command.run(
        given, lambda: measured(given, Console(stderr=True)), report.lines, report.draw
    )


def measured(given: Options, console: Console) -> DevRecord:
    """The record of everything."""
    record = DevRecord(question="dev", settings=given.settings(), notes=list(report.NOTES))
    toys = [(power, held, given.trials, 0) for held in (False, True) for power in POWERS]
    tasks = options.choices("tasks", given.tasks, Task)
    work = [(task, seed, given.candidates) for seed in range(given.seeds) for task in tasks]
    total = len(toys) + len(work)
    with (
        options.progress_on(console) as tell,
        multiprocessing.get_context("spawn").Pool(given.jobs) as pool,
    ):
        tell(0, total, "regression")
        for found in pool.imap(_toy, toys):
            record.toys.append(found)
            tell(len(record.toys), total, "regression")
        for done in pool.imap(_trial, work):
            record.trials.append(done)
            tell(len(toys) + len(record.trials), total, "digits")
    record.series += report.series_of(record.trials)
    return record


def _toy(work: _Toy) -> Toy:
    return toy(*work)


def _trial(work: _Trial) -> Trial:
    return trial(*work)
