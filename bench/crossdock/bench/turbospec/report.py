"""The report: as text, as a page of Markdown, as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossdock.bench import plot, text
from crossdock.bench.record import Record
from crossdock.bench.text import Column, Value
from crossdock.bench.turbospec import judge
from crossdock.bench.turbospec.contenders import OURS, PAPER, TABLE
from crossdock.bench.turbospec.judge import Verdict

NOTES = (
    "regret: tokens per second lost to the best fixed length of each phase on the same seed, no",
    "speculation included; the mean over phases and seeds, with an interval of 95%; by the cpu",
    "clock, whose times scatter, to the one that is best in the mean over seeds;",
    "worst: of the worst phase; transition: of the first fifth of each phase, steady: of the rest;",
    "loss: to no speculation, in the phase where most is lost; below 0 there is none;",
    "p50, p99: time per token of requests; #wrong: tokens other than without speculation;",
    "the virtual clock charges each step of the real engine by a table of measured steps;",
    "the table of lengths by batch is the best for the phases to come, which no user knows",
)
COLUMNS = (
    Column("contender", "", 24, left=True),
    Column("regret", "%", 7, 2),
    Column("low", "%", 7, 2),
    Column("high", "%", 7, 2),
    Column("worst", "%", 7, 2),
    Column("steady", "%", 7, 2),
    Column("transit", "%", 7, 2),
    Column("loss", "%", 7, 2),
    Column("p50", "ms", 7, 2),
    Column("p99", "ms", 7, 2),
    Column("#wrong", "", 6),
)
_MOST_REGRET, _MOST_WORST, _MOST_LOSS = 0.03, 0.06, 0.02


def lines(record: Record) -> Iterator[str]:
    """The whole report."""
    yield from text.head(record)
    for (clock, scenario), found in groups(judge.verdicts(record)).items():
        yield "#"
        yield f"# {clock} clock, scenario {scenario}"
        yield from text.table(COLUMNS, (row(verdict) for verdict in found))
        yield f"# {sentence(found)}"
    yield "#"
    yield from text.tail(record)


def row(verdict: Verdict) -> Mapping[str, Value]:
    """The numbers of one policy."""
    return {
        "contender": verdict.contender,
        "regret": verdict.regret * 100,
        "low": verdict.low * 100,
        "high": verdict.high * 100,
        "worst": verdict.worst * 100,
        "steady": verdict.steady * 100,
        "transit": verdict.transition * 100,
        "loss": verdict.loss * 100,
        "p50": verdict.median_s * 1e3,
        "p99": verdict.tail_s * 1e3,
        "#wrong": verdict.wrong,
    }


def groups(found: Sequence[Verdict]) -> dict[tuple[str, str], list[Verdict]]:
    """By clock and scenario."""
    result: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in found:
        result.setdefault((verdict.clock, verdict.scenario), []).append(verdict)
    return result


def sentence(found: Sequence[Verdict]) -> str:
    """How crossdock did in a scenario, beside what is asked of it."""
    by_name = {verdict.contender: verdict for verdict in found}
    ours, single = by_name[OURS], judge.best_single(found)
    misses = [
        f"{name} {value:.1%} is above {most:.0%}"
        for name, value, most in (
            ("regret", ours.regret, _MOST_REGRET),
            ("worst phase", ours.worst, _MOST_WORST),
            ("loss to no speculation", ours.loss, _MOST_LOSS),
        )
        if value > most
    ]
    misses += [
        f"{rival.contender} has less regret"
        for rival in (single, by_name[PAPER])
        if rival.regret < ours.regret
    ]
    outcome = "; ".join(misses) or "all that is asked of it"
    return (
        f"crossdock {ours.regret:.1%}, best single length ({single.contender}) "
        f"{single.regret:.1%}, best table {by_name[TABLE].regret:.1%}, "
        f"paper {by_name[PAPER].regret:.1%}: {outcome}"
    )


def page(record: Record) -> str:
    """The report in Markdown."""
    parts = [
        "# How far to speculate",
        f"`crossdock bench turbospec`, {record.started}, git {record.git}, {record.machine.cpu}.",
        " ".join(record.notes),
    ]
    names = [column.name for column in COLUMNS]
    for (clock, scenario), found in groups(judge.verdicts(record)).items():
        cells = [[column.cell(row(v)[column.name]).strip() for column in COLUMNS] for v in found]
        rows = [names, ["---"] * len(names), *cells]
        parts.append(f"## {scenario}, {clock} clock")
        parts.append(sentence(found))
        parts.append("\n".join(f"| {' | '.join(cell)} |" for cell in rows))
    return "\n\n".join(parts) + "\n"


def draw(record: Record, path: Path) -> None:
    """Regret of each policy, a panel for each clock and scenario."""
    panels = groups(judge.verdicts(record))
    wide, high = plot.PANEL_INCHES
    canvas: Any = plot.figures().Figure(figsize=(wide * len(panels), high), layout="constrained")
    axes = canvas.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, ((clock, scenario), found) in zip(axes, panels.items(), strict=True):
        names = [verdict.contender for verdict in found]
        values = [verdict.regret * 100 for verdict in found]
        reach = [
            [(v.regret - v.low) * 100 for v in found],
            [(v.high - v.regret) * 100 for v in found],
        ]
        colours = ["tab:orange" if name.startswith(OURS) else "tab:blue" for name in names]
        axis.bar(names, values, yerr=reach, color=colours, capsize=3)
        axis.set_title(f"{scenario}, {clock} clock")
        axis.tick_params(axis="x", rotation=60)
    axes[0].set_ylabel("regret, %")
    canvas.suptitle(f"crossdock bench turbospec, git {record.git}, {record.machine.cpu}")
    canvas.savefig(path)
