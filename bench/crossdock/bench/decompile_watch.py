"""`crossdock bench decompile-watch`: what it costs a job to be watched while it compiles.

The same script runs under plain torchrun and under ``crossdock decompile run --torchrun``, in turn,
each time from nothing: new processes, no cache. In one more run a round the last rank compiles
something else at the end, and it is measured how long after that the warning is printed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from crossdock.bench import command, decompile_watch_rank, options, plot, text
from crossdock.bench.command import Common
from crossdock.bench.decompile_watch_run import Ran, ran
from crossdock.bench.errors import BenchFailed
from crossdock.bench.record import OURS, Record, Series
from crossdock.bench.text import Column, Value

PLAIN = "torchrun"
RUN, COMPILE, STEPS, WARNING = "run", "compile", "steps", "warning"
NOTES = (
    "run: from the start of the command to its end; compile: until each function has run once, on",
    "the slowest rank; steps: all further calls; warning: from the end of the compilation in which",
    "the ranks part, on the last of them, until the line is read; wrong: other results than under",
    "torchrun, and warnings that did not come while the ranks ran",
)
COLUMNS = (
    Column("what", "", 8, left=True),
    Column("contender", "", 9, left=True),
    Column("rounds", "", 6),
    Column("median", "s", 9, 3),
    Column("min", "s", 9, 3),
    Column("max", "s", 9, 3),
    Column("x torchrun", "", 10, 3),
)


@dataclass(frozen=True)
class Options(Common):
    """Time of a watched job beside that of a plain one, and how soon a warning comes."""

    ranks: int = 2
    """On this host."""
    functions: int = 4
    """That are compiled, each with a graph break."""
    steps: int = 5000
    """Calls of each, after the first."""
    rounds: int = 5
    """How often each contender has its turn."""
    backend: Literal["inductor", "aot_eager", "eager"] = "inductor"
    """Of torch.compile."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.between("ranks", self.ranks, 2, 64)
        options.between("functions", self.functions, 1, 1000)
        options.at_least("steps", self.steps, 0)
        options.at_least("rounds", self.rounds, 1)


def main(given: Options) -> int:
    """Measure, print, save."""
    return command.run(given, lambda: measured(given, Console(stderr=True)), lines, draw)


def measured(given: Options, console: Console) -> Record:
    """The record of a run."""
    record = Record(question="decompile-watch", settings=given.settings(), notes=list(NOTES))
    rounds: list[tuple[Ran, Ran]] = []
    warned: list[float | None] = []
    with tempfile.TemporaryDirectory() as name, options.progress_on(console) as tell:
        turns = Turns(given, Path(name))
        for number in range(given.rounds):
            tell(number, given.rounds, f"round {number + 1}")
            order = (False, True) if number % 2 else (True, False)
            found = {watched: turns.take(watched, False) for watched in order}
            rounds.append((found[False], found[True]))
            warned.append(turns.take(True, True).warned_after())
    record.series = [
        *series_of(rounds, given.ranks),
        warning_of(warned, given.ranks),
    ]
    return record


class Turns:
    """Runs of the script, each in a folder of its own."""

    def __init__(self, given: Options, folder: Path) -> None:
        self._given = given
        self._folder = folder
        self._turn = 0
        self._script = folder / "script.py"
        self._script.write_text(decompile_watch_rank.script(given.functions), encoding="utf-8")

    def take(self, watched: bool, parts: bool) -> Ran:
        """One; BenchFailed if it fails."""
        given = self._given
        folder = self._folder / f"turn_{self._turn}"
        folder.mkdir()
        self._turn += 1
        words = (given.backend, str(given.steps), str(int(parts)))
        return ran(self._script, words, given.ranks, folder, given.deadline_s, watched)


def series_of(rounds: list[tuple[Ran, Ran]], ranks: int) -> Iterator[Series]:
    """Times of both contenders in all rounds; in each the plain run comes first."""
    wrong = sum(plain.ranks[0].result != one.result for plain, ours in rounds for one in ours.ranks)
    for contender, runs in zip((PLAIN, OURS), zip(*rounds, strict=True), strict=True):
        times = {
            RUN: [one.seconds for one in runs],
            COMPILE: [max(told.compile_s for told in one.ranks) for one in runs],
            STEPS: [max(told.steps_s for told in one.ranks) for one in runs],
        }
        for what, seconds in times.items():
            yield Series(
                contender=contender,
                point={"what": what, "ranks": ranks},
                rounds=[[one] for one in seconds],
                wrong=wrong if (contender, what) == (OURS, RUN) else None,
            )


def warning_of(warned: list[float | None], ranks: int) -> Series:
    """How late the warnings were; BenchFailed if none came."""
    seconds = [[one] for one in warned if one is not None]
    if not seconds:
        raise BenchFailed("in no round a warning came while the ranks ran that part")
    return Series(
        contender=OURS,
        point={"what": WARNING, "ranks": ranks},
        rounds=seconds,
        wrong=len(warned) - len(seconds),
    )


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    yield from text.head(record)
    yield "#"
    order = (RUN, COMPILE, STEPS, WARNING)
    found = sorted(record.series, key=lambda one: order.index(str(one.point["what"])))
    yield from text.table(COLUMNS, (row(record, series) for series in found))
    yield "#"
    yield from text.tail(record)


def row(record: Record, series: Series) -> Mapping[str, Value]:
    """A line of the table."""
    summary = series.summary()
    return {
        "what": series.point["what"],
        "contender": series.contender,
        "rounds": len(series.rounds),
        "median": summary.p50,
        "min": summary.min,
        "max": summary.max,
        "x torchrun": record.ratio(series, PLAIN) if series.contender == OURS else None,
    }


def draw(record: Record, path: Path) -> None:
    """Medians, a panel for each kind of time."""
    plot.save(
        record,
        path,
        panel_of=lambda series: str(series.point["what"]),
        along="ranks",
        value=lambda series: series.summary().p50,
        unit="s",
    )
