"""What came out of a study, as tables: ends of training, transfer gains, checks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from crossdock.workloads.lr_decay.checks import (
    Check,
    Floats,
    Outcome,
    Trained,
    interval,
    judge,
)
from crossdock.workloads.lr_decay.schedule import Schedule
from crossdock.workloads.lr_decay.trial import DIVERGED, NOISE_FIT, TEST
from crossdock.workloads.runner import Point, Value
from crossdock.workloads.runner.grid import name_of

Table = tuple[list[str], list[list[Any]]]
"""Columns and rows."""
_SEED = "seed"
_PROBE, _TRANSFER = "probe ", "transfer "


@dataclass(frozen=True)
class Study:
    """All trials that gave values, and what is claimed of them."""

    schedules: Sequence[Schedule]
    trials: Sequence[tuple[Point, Value]]
    checks: Sequence[Check]

    @property
    def names(self) -> list[str]:
        """Of the schedules."""
        return [one.name for one in self.schedules]

    @property
    def decaying(self) -> list[Schedule]:
        """Schedules with a decay."""
        return [one for one in self.schedules if one.decay is not None]

    @property
    def targets(self) -> list[str]:
        """That features were tried on."""
        return _of_kind(self.trials[0][1], _TRANSFER)

    @property
    def measures(self) -> list[str]:
        """What is known by epoch: accuracies, and how many wrong labels are fitted."""
        return [TEST, *(_PROBE + one for one in _of_kind(self.trials[0][1], _PROBE)), NOISE_FIT]

    def places(self) -> dict[str, list[tuple[Point, Value]]]:
        """Trials that differ by their seeds alone, by what they have in common."""
        found: dict[str, list[tuple[Point, Value]]] = {}
        for point, value in self.trials:
            common = {name: one for name, one in point.items() if name != _SEED}
            found.setdefault(name_of(common), []).append((point, value))
        return found

    def curves(self, trials: Sequence[tuple[Point, Value]], measure: str, schedule: str) -> Floats:
        """(trials, epochs + 1); NaN from where one has diverged."""
        return np.stack([Trained(value, self.names).of(measure, schedule) for _, value in trials])

    def diverged(self) -> Iterator[tuple[str, str]]:
        """Trainings that did not come to their end, and why."""
        for point, value in self.trials:
            for name, reason in value[DIVERGED].items():
                yield f"{name_of(point)}, {name}", reason


def outcomes(study: Study) -> list[dict[str, Any]]:
    """Of all checks, over the whole grid."""
    return [asdict(_judged(study, check, study.trials)) for check in study.checks]


def checks(study: Study) -> Table:
    """Whether what is claimed holds, over the whole grid."""
    rows = [_row(_judged(study, check, study.trials)) for check in study.checks]
    return ["claim", "verdict", *_NUMBERS], rows


def checks_by_place(study: Study) -> Table:
    """The same in each place of the grid, and for each decay."""
    rows = []
    for check in study.checks:
        for place, trials in study.places().items():
            for schedule in study.decaying:
                outcome = _judged(study, check, trials, [schedule])
                claim, verdict, *numbers = _row(outcome)
                rows.append([claim, place, schedule.name, verdict, *numbers])
    return ["claim", "place", "schedule", "verdict", *_NUMBERS], rows


def ends(study: Study) -> Table:
    """Accuracies and noise fit after the last epoch, means over seeds with half an interval."""
    rows = []
    for place, trials in study.places().items():
        for name in study.names:
            row: list[Any] = [place, name]
            for measure in study.measures:
                values = study.curves(trials, measure, name)[:, -1]
                row += _mean_and_half(values)
            rows.append(row)
    columns = [word for one in study.measures for word in (one.removeprefix(_PROBE), "+-")]
    return ["place", "schedule", *columns], rows


def gains(study: Study) -> Table:
    """What features gain on targets until the decay and after it, and where they started."""
    rows = []
    for place, trials in study.places().items():
        for schedule in study.decaying:
            for target in study.targets:
                stages = study.curves(trials, _TRANSFER + target, schedule.name)
                row: list[Any] = [place, schedule.name, target, *_mean_and_half(stages[:, 0])]
                for change in (stages[:, 1] - stages[:, 0], stages[:, 2] - stages[:, 1]):
                    row += _mean_and_half(change)
                rows.append(row)
    return [
        "place",
        "schedule",
        "target",
        "at start",
        "+-",
        "until decay",
        "+-",
        "after",
        "+-",
    ], rows


_NUMBERS = ["mean", "low", "high", "above", "seeds"]


def _row(outcome: Outcome) -> list[Any]:
    numbers = [outcome.mean, outcome.low, outcome.high, outcome.above]
    shown = [None if math.isnan(one) else one for one in numbers]
    return [outcome.claim, outcome.verdict, *shown, outcome.seeds]


def _judged(
    study: Study,
    check: Check,
    trials: Sequence[tuple[Point, Value]],
    decaying: Sequence[Schedule] | None = None,
) -> Outcome:
    by_seed: dict[int, list[float]] = {}
    for point, value in trials:
        trained = Trained(value, study.names)
        for schedule in study.decaying if decaying is None else decaying:
            assert schedule.decay is not None
            by_seed.setdefault(point[_SEED], []).append(check.statistic(trained, schedule.decay))
    return judge(check, by_seed)


def _mean_and_half(values: Floats) -> list[float | None]:
    mean, low, high = interval([float(one) for one in values if not math.isnan(one)])
    return [None if math.isnan(one) else one for one in (mean, (high - low) / 2)]


def _of_kind(value: Mapping[str, Any], kind: str) -> list[str]:
    return [name.removeprefix(kind) for name in value if name.startswith(kind)]
