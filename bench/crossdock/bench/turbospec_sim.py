"""`crossdock bench turbospec-sim`: controllers of speculation in simulated serving.

Every policy serves the same requests in virtual time, beside every fixed length; see
``crossdock.serving.simulator``. The figures do not depend on the machine, but for overflow of its
patience.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import tyro
from rich.console import Console

from crossdock.bench import command, options, plot, text
from crossdock.bench.command import Common
from crossdock.bench.record import Record, Series
from crossdock.bench.text import Column, Value
from crossdock.serving.simulator import contenders
from crossdock.serving.simulator.judge import Verdict
from crossdock.serving.simulator.trials import Trial, trial

ALL = "all"
MOST = 100_000

NOTES = (
    "regret: share of tokens per busy second below the fixed length that is best in the phase,",
    "transitions included, over all phases; steady without the first quarter of each phase;",
    "pace: the same of tokens per second of a decoding request (1 / time per token);",
    "off: the most that a phase lost against no speculation, and the most that a whole run did;",
    "#paper, #single: scenarios with more regret than the paper's controller, the best single k;",
    "near: median seconds from the start of a phase until the rest of it is within 3 % of the best",
)

COLUMNS = (
    Column("policy", "", 38, left=True),
    Column("family", "", 14, left=True),
    Column("phases", "", 6),
    Column("regret", "%", 7, 2),
    Column("+-", "%", 5, 2),
    Column("p95", "%", 6, 1),
    Column("worst", "%", 6, 1),
    Column("run", "%", 6, 1),
    Column("steady", "%", 7, 2),
    Column("transit", "%", 7, 2),
    Column("pace", "%", 6, 2),
    Column("off", "%", 6, 1),
    Column("off run", "%", 7, 1),
    Column("#paper", "", 6),
    Column("#single", "", 7),
    Column("near", "s", 5, 2),
)


@dataclass(frozen=True)
class Options(Common):
    """Regret of controllers on generated scenarios, against every fixed draft length."""

    deadline_s: float = 7200.0
    """For all scenarios."""
    scenarios: int = 200
    """How many are generated: 70B on 8 GPUs, 8B on one and a mixture of experts, in turn."""
    first: int = 0
    """Number of the first one."""
    seeds: int = 1
    """How often each is run, with other requests and other noise."""
    policies: str = "ours;paper;table;ours, costs 30% wrong"
    """Names with semicolons; `all` runs the ablations too."""
    jobs: int = 2
    """Processes at work."""
    families: bool = True
    """Print a row for each family as well."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.between("scenarios", self.scenarios, 1, MOST)
        options.between("first", self.first, 0, MOST)
        options.between("seeds", self.seeds, 1, MOST)
        options.between("jobs", self.jobs, 1, 1024)
        self.names()

    def names(self) -> list[str]:
        """Of the policies."""
        if self.policies == ALL:
            return list(contenders.CONTENDERS)
        return contenders.known(self.policies)


class SimRecord(Record, kw_only=True):
    """With every verdict, phase by phase."""

    trials: list[Trial] = msgspec.field(default_factory=list)


def main(given: Options) -> int:
    """Run, print, save."""
    return command.run(given, lambda: measured(given, Console(stderr=True)), lines, draw)


def measured(given: Options, console: Console) -> SimRecord:
    """The record of all scenarios."""
    record = SimRecord(question="turbospec-sim", settings=given.settings(), notes=list(NOTES))
    names = given.names()
    work = [
        (number, seed, names)
        for number in range(given.first, given.first + given.scenarios)
        for seed in range(given.seeds)
    ]
    with (
        options.progress_on(console) as tell,
        multiprocessing.get_context("spawn").Pool(given.jobs) as pool,
    ):
        tell(0, len(work), "scenarios")
        for done in pool.imap(_trial, work):
            record.trials.append(done)
            tell(len(record.trials), len(work), "scenarios")
    record.series += series_of(record.trials)
    return record


def _trial(work: tuple[int, int, list[str]]) -> Trial:
    return trial(*work)


def series_of(trials: Sequence[Trial]) -> list[Series]:
    """Seconds a token of each policy on each scenario; the seeds are the rounds."""
    rounds: dict[tuple[str, str, str], list[list[float]]] = {}
    for each in trials:
        for name, verdict in each.verdicts.items():
            key = (name, each.scenario, each.family)
            rounds.setdefault(key, []).append([1 / max(verdict.goodput, 1e-12)])
    return [
        Series(contender=name, point={"scenario": scenario, "family": family}, rounds=samples)
        for (name, scenario, family), samples in rounds.items()
    ]


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    assert isinstance(record, SimRecord)
    yield from text.head(record)
    yield "#"
    yield from text.table(COLUMNS, rows(record.trials, bool(record.settings["families"])))


def rows(trials: Sequence[Trial], by_family: bool) -> Iterator[Mapping[str, Value]]:
    """For each policy over all families, then over each."""
    families = [ALL, *dict.fromkeys(each.family for each in trials)]
    for name in dict.fromkeys(name for each in trials for name in each.verdicts):
        for family in families if by_family else [ALL]:
            own = [each for each in trials if family in (ALL, each.family)]
            yield row(name, family, own)


def row(name: str, family: str, trials: Sequence[Trial]) -> Mapping[str, Value]:
    """Figures of one policy over some trials, in percent and seconds."""
    verdicts = [each.verdicts[name] for each in trials]

    def flat(part: str) -> np.ndarray:
        return np.concatenate([getattr(verdict, part) for verdict in verdicts])

    means = np.array([verdict.mean for verdict in verdicts])
    error = 1.96 * means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else 0.0
    regret, off = flat("regret"), flat("off")
    return {
        "policy": name,
        "family": family,
        "phases": len(regret),
        "regret": 100 * float(means.mean()),
        "+-": 100 * float(error),
        "p95": 100 * float(np.quantile(regret, 0.95)),
        "worst": 100 * float(regret.max()),
        "run": 100 * float(means.max()),
        "steady": 100 * float(flat("steady").mean()),
        "transit": 100 * float(flat("transition").mean()),
        "pace": 100 * float(flat("pace").mean()),
        "off": 100 * float(off.max()),
        "off run": 100 * max(float(np.mean(verdict.off)) for verdict in verdicts),
        "#paper": _worse(trials, name, contenders.PAPER),
        "#single": _worse(trials, name, "best single k"),
        "near": float(np.median(flat("converged_s"))),
    }


def _worse(trials: Sequence[Trial], name: str, rival: str) -> int | None:
    """Trials in which a policy has more regret than a rival; None if that did not run."""
    if name == rival or not all(rival in each.verdicts for each in trials):
        return None

    def mean(verdict: Verdict) -> float:
        return verdict.mean

    return sum(mean(each.verdicts[name]) > mean(each.verdicts[rival]) for each in trials)


def draw(record: Record, path: Path) -> None:
    """Bars of the median time per token, by family."""
    merged: dict[tuple[str, str], list[list[float]]] = {}
    for series in record.series:
        key = (series.contender, str(series.point["family"]))
        merged.setdefault(key, []).extend(series.rounds)
    families = [
        Series(contender=name, point={"family": family, "what": family}, rounds=samples)
        for (name, family), samples in merged.items()
    ]
    plot.save(
        SimRecord(question=record.question, settings=record.settings, series=families),
        path,
        panel_of=lambda series: str(series.point["family"]),
        along="what",
        value=lambda series: series.summary().p50 * 1e3,
        unit="ms of the engine a token, median",
    )


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
