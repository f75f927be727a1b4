"""What a driver's policy did so far, as samples for Prometheus; knows no client of it."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from crossdock.serving.turbospec.driver import Outcome
from crossdock.serving.turbospec.positions import Positions

PREFIX = "crossdock_turbospec_"
_WEIGHT = 0.05
"""Weight of the newest step in moving averages."""


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    """A name, its meaning, and what tells its samples apart."""

    kind: Literal["gauge", "counter"]
    text: str
    label: str | None = None


METRICS = {
    "controlled": Metric("gauge", "1 while a policy chooses, 0 when it was given up."),
    "draft_length": Metric("gauge", "K: tokens that are drafted for each request."),
    "requests": Metric("gauge", "Decoding requests of the last step."),
    "predicted_goodput": Metric("gauge", "Tokens per second as predicted, moving average."),
    "measured_goodput": Metric("gauge", "Tokens per second as measured, moving average."),
    "regret": Metric("gauge", "Share of predicted goodput that the best length would add."),
    "tokens": Metric("counter", "Tokens that requests got."),
    "seconds": Metric("counter", "Seconds of steps."),
    "predicted_tokens": Metric("counter", "Tokens that plans promised."),
    "predicted_seconds": Metric("counter", "Seconds that plans promised."),
    "decisions": Metric("counter", "Steps, by why their length was chosen.", "reason"),
    "judged": Metric("counter", "Drafts that were accepted or rejected.", "position"),
    "accepted": Metric("counter", "Drafts that were accepted.", "position"),
}
Samples = dict[str, dict[str, float]]
"""Values by name, then by label; the label is empty where there is none."""


class Totals:
    """Counts; an observer of a driver.

    Args:
        max_draft: the longest draft.
        state: whether a policy chooses, and its regret.
        export: is given the samples every now and then.
        every_s: how often, in seconds of steps.
    """

    def __init__(
        self,
        max_draft: int,
        state: Callable[[], tuple[bool, float]],
        export: Callable[[Samples], None],
        every_s: float = 0.5,
    ) -> None:
        self._positions = Positions(max_draft)
        self._state = state
        self._export = export
        self._every_s = every_s
        self._exported_s = 0.0
        self._sums: collections.defaultdict[str, float] = collections.defaultdict(float)
        self._reasons: collections.Counter[str] = collections.Counter()
        self._length = self._requests = 0
        self._rates = {"predicted": 0.0, "measured": 0.0}

    def __call__(self, outcome: Outcome) -> None:
        """A step has ended."""
        step, plan = outcome.step, outcome.plan
        self._sums["tokens"] += step.generated
        self._sums["seconds"] += step.seconds
        self._rate("measured", step.generated / step.seconds)
        self._positions.add(step.verified)
        self._requests, self._length = step.work.requests, step.work.draft_length
        if plan is not None:
            self._reasons[plan.reason] += 1
            if plan.seconds > 0:
                self._sums["predicted_tokens"] += plan.tokens
                self._sums["predicted_seconds"] += plan.seconds
                self._rate("predicted", plan.goodput)
        if self._sums["seconds"] - self._exported_s >= self._every_s or not outcome.busy:
            self._exported_s = self._sums["seconds"]
            self._export(self.samples())

    def samples(self) -> Samples:
        """As of now."""
        controlled, regret = self._state()
        plain = {
            "controlled": float(controlled),
            "regret": regret,
            "draft_length": self._length,
            "requests": self._requests,
            "predicted_goodput": self._rates["predicted"],
            "measured_goodput": self._rates["measured"],
            **{name: self._sums[name] for name in METRICS if name in self._sums},
        }
        return {
            **{name: {"": float(value)} for name, value in plain.items()},
            "decisions": {reason: float(count) for reason, count in self._reasons.items()},
            "judged": _by_position(self._positions.judged),
            "accepted": _by_position(self._positions.accepted),
        }

    def _rate(self, name: str, value: float) -> None:
        old = self._rates[name]
        self._rates[name] = value if old == 0 else old + _WEIGHT * (value - old)


def _by_position(counts: Iterable[int]) -> dict[str, float]:
    return {str(place): float(count) for place, count in enumerate(counts, 1)}


def write(folder: Path, rank: int, samples: Samples) -> None:
    """Leave samples for another process of this host; never half of them."""
    new = folder / f".{rank}.new"
    new.write_text(json.dumps(samples))
    new.replace(folder / f"{rank}.json")


def read(folder: Path) -> dict[str, Samples]:
    """What all ranks left there, by rank."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("[0-9]*.json"))}
