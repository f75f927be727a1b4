"""DEV in a Ray Tune study: what trials report, what ends them early, which one is taken.

A trial reports ``tune.report({**metrics(dev.risk(features, losses)), ...})``; Tune's own parts then
understand it too, as ``TuneConfig(metric="dev_risk", mode="min")``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune import Result, ResultGrid, Stopper

from crossdock.proxy.errors import ArgumentError, CrossdockError
from crossdock.workloads.dev.risk import DevRisk

RISK, ERROR, STATUS, REASON = "dev_risk", "dev_standard_error", "dev_status", "dev_reason"


class NothingChosen(CrossdockError, ValueError):
    """No trial of a study has a risk; the message says why each has none."""


def metrics(risk: DevRisk) -> dict[str, float | str]:
    """What a trial reports of a risk; `dev_risk` is NaN where it was refused."""
    return {
        RISK: risk.risk,
        ERROR: risk.standard_error,
        STATUS: risk.status,
        REASON: risk.reason,
        "dev_effective_size": risk.effective_size,
        "dev_mean_weight": risk.mean_weight,
        "dev_importance_weighted": risk.importance_weighted,
    }


class DevStopper(Stopper):
    """Ends trials whose risk stays refused, or is clearly above that of another trial.

    Trials are compared at the same number of reports, so that one which begins late is not held
    against one that has finished. For ``RunConfig(stop=DevStopper())``.

    Args:
        margin: by how many standard errors, of both risks together, a risk must be above the lowest
            of the others. The risks share their samples, so this is on the careful side.
        grace: reports before which no trial is ended for its risk.
        refusals: so many refused reports in a row end a trial.

    Attributes:
        ended: the reason, by trial.

    Raises:
        ArgumentError: a number out of range; in a study, a report without DEV's figures.
    """

    def __init__(self, *, margin: float = 2.0, grace: int = 3, refusals: int = 3) -> None:
        if not margin > 0:
            raise ArgumentError(f"margin is {margin}; give standard errors above 0")
        if grace < 1 or refusals < 1:
            raise ArgumentError(f"grace is {grace} and refusals {refusals}, but 1 is the least")
        self.margin = margin
        self.grace = grace
        self.refusals = refusals
        self.ended: dict[str, str] = {}
        self._reports: dict[str, list[tuple[float, float]]] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial is to end; called by Tune with each report."""
        if result.get(STATUS) not in ("ok", "refused"):
            raise ArgumentError(
                f"trial {trial_id} reports no {STATUS}; report {{**metrics(risk)}} of a DevRisk"
            )
        reports = self._reports.setdefault(trial_id, [])
        reports.append((float(result[RISK]), float(result[ERROR])))
        reason = self._refused(reports, str(result[REASON])) or self._worse(trial_id, reports)
        if reason:
            self.ended[trial_id] = reason
        return bool(reason)

    def stop_all(self) -> bool:
        """Never: what is bad of one trial says nothing of the next."""
        return False

    def _refused(self, reports: list[tuple[float, float]], reason: str) -> str:
        last = reports[-self.refusals :]
        if len(last) == self.refusals and all(math.isnan(risk) for risk, _ in last):
            return f"refused {self.refusals} times in a row: {reason}"
        return ""

    def _worse(self, trial_id: str, reports: list[tuple[float, float]]) -> str:
        at = len(reports)
        rivals = [
            others[at - 1]
            for name, others in self._reports.items()
            if name != trial_id and len(others) >= at and math.isfinite(others[at - 1][0])
        ]
        risk, error = reports[-1]
        if at < self.grace or not rivals or math.isnan(risk):
            return ""
        best, best_error = min(rivals)
        allowed = self.margin * math.hypot(error, best_error)
        if risk - best <= allowed:
            return ""
        return f"risk {risk:.4g} at report {at} is more than {allowed:.4g} above {best:.4g}"


@dataclass(frozen=True)
class Choice:
    """The trial that DEV takes."""

    result: Result
    left_out: dict[str, str]
    """Trials without a risk, by the path of the trial: the reason."""


def choose(grid: ResultGrid | Sequence[Result]) -> Choice:
    """The trial with the lowest risk in its last report.

    Raises:
        NothingChosen: all trials failed, were refused, or reported no risk.
    """
    results = [grid[i] for i in range(len(grid))]
    reasons = [_reason(result) for result in results]
    left_out = {
        str(result.path): reason for result, reason in zip(results, reasons, strict=True) if reason
    }
    risks = [
        math.inf if reason or result.metrics is None else float(result.metrics[RISK])
        for result, reason in zip(results, reasons, strict=True)
    ]
    if len(left_out) == len(results):
        said = "; ".join(f"{path}: {reason}" for path, reason in left_out.items())
        raise NothingChosen(f"none of {len(results)} trials has a risk by DEV ({said})")
    return Choice(results[risks.index(min(risks))], left_out)


def _reason(result: Result) -> str:
    """Why a trial has no risk; empty where it has one."""
    if result.error is not None:
        return f"failed: {str(result.error).strip().splitlines()[-1]}"
    found = result.metrics or {}
    if STATUS not in found:
        return f"it reported no {STATUS}"
    return "" if found[STATUS] == "ok" else f"refused: {found[REASON]}"
