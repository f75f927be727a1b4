"""Lets all policies take turns, phase by phase, on one engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from crossdock.bench.ranks import Tell
from crossdock.bench.turbospec import clocks, stage
from crossdock.bench.turbospec.contenders import contenders
from crossdock.bench.turbospec.judge import PROCESSOR, VIRTUAL
from crossdock.bench.turbospec.parts import Notebook
from crossdock.bench.turbospec.scenario import Scenario
from crossdock.bench.turbospec.stage import MOST_DRAFTS, Stage
from crossdock.serving.turbospec import fitting
from crossdock.serving.turbospec.clock import Clock
from crossdock.serving.turbospec.cost import CostModel
from crossdock.serving.turbospec.profile import Cell
from crossdock.serving.turbospec.profiling import Grid, walk

_CALIBRATION = Grid([1, 2, 4, 8, 16, 32], [24, 240], [0, 1, 2, 4, 6, 8], repeats=15)
_CALIBRATION_S = 90.0


class Tour:
    """All runs of one clock.

    Args:
        clock: ``VIRTUAL`` or ``PROCESSOR``.
        cells: measured steps: of the table that the virtual clock charges by, and what the policies
            are told of costs.
        ablations: of our controller, too.
        phase_s: length of a phase.
        seeds: at most so many are run.
    """

    def __init__(
        self, clock: str, cells: Sequence[Cell], ablations: bool, phase_s: float, seeds: int
    ) -> None:
        self._clock = clock
        self._cells = cells
        self._ablations = ablations
        self._phase_s = phase_s
        self._seeds = seeds
        self._costs = fitting.fit([(cell.work, cell.seconds) for cell in cells])

    def visit(
        self,
        model: Path,
        scenarios: Sequence[Scenario],
        limit_s: float,
        tell: Tell,
        notebook: Notebook,
    ) -> str:
        """Start an engine with this model and ``run``; the engine is gone afterwards."""
        engine = Stage(model, seed=0)
        try:
            return self.run(engine, scenarios, limit_s, tell, notebook)
        finally:
            engine.close()

    def run(
        self,
        engine: Stage,
        scenarios: Sequence[Scenario],
        limit_s: float,
        tell: Tell,
        notebook: Notebook,
    ) -> str:
        """Run scenarios on as many seeds as the time allows, at least one; says what was run."""
        begun = time.monotonic()
        for seed in range(self._seeds):
            each = (time.monotonic() - begun) / max(seed, 1)
            if seed and time.monotonic() - begun + each > limit_s:
                return f"{self._clock} clock: {seed} of {self._seeds} seeds, no time for more"
            for place, scenario in enumerate(scenarios):
                tell(
                    seed * len(scenarios) + place,
                    self._seeds * len(scenarios),
                    f"{self._clock} clock, seed {seed}, {scenario.name}",
                )
                self._scenario(engine, scenario, seed, notebook)
        return f"{self._clock} clock: {self._seeds} seeds"

    def _scenario(self, engine: Stage, scenario: Scenario, seed: int, notebook: Notebook) -> None:
        drafter_s = scenario.drafter * self._costs.seconds(self._cells[0].work)
        if self._clock == PROCESSOR:
            drafter_s = 0.0  # an oracle's drafts cost this engine nothing
        table = clocks.Table(self._costs, self._cells, drafter_s)
        told = _with_drafter(self._costs, drafter_s)
        entrants = contenders(MOST_DRAFTS, told, table, scenario, self._ablations)
        running = [(entrant, entrant.make(), self._new_clock(table)) for entrant in entrants]
        for number, phase in enumerate(scenario.phases):
            first = (seed + number) % len(running)
            for entrant, policy, clock in (*running[first:], *running[:first]):
                seconds = self._phase_s * phase.seconds
                ran = engine.run(policy, clock, scenario, number, seed, seconds)
                notebook.add(self._clock, scenario.name, number, entrant.name, ran)

    def _new_clock(self, table: clocks.Table) -> Clock:
        return clocks.Virtual(table) if self._clock == VIRTUAL else clocks.Processor()


def calibrated(model: Path) -> list[Cell]:
    """Steps of this engine by the time of the processor."""
    stage.prepare()
    from crossdock.serving.vllm.measured import MeasuredEngine

    engine = MeasuredEngine(str(model), stage.SPECULATIVE, stage.ARGUMENTS, time.process_time)
    try:
        return walk(_CALIBRATION, engine, _CALIBRATION_S, lambda *_: None)[0]
    finally:
        engine.close()


def _with_drafter(costs: CostModel, drafter_s: float) -> CostModel:

    return msgspec.structs.replace(costs, draft_token_s=costs.draft_token_s + drafter_s)
