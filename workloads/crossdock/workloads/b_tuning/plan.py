"""Who teaches whom, by the evidence of all models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.job import Chosen, Found
from crossdock.workloads.b_tuning.losses import teacher_weights
from crossdock.workloads.rank.models import Model
from crossdock.workloads.runner import Failed


@dataclass(frozen=True)
class Plan:
    """Who teaches whom."""

    found: Mapping[str, Found]
    """Of all models that have a score, best first."""
    student: Model
    best: Model
    teachers: Sequence[Chosen]
    failed: Mapping[str, str]
    """Reasons, by name."""


def planned(
    able: Sequence[Model],
    found: Mapping[str, Found | Failed],
    *,
    student: str | None,
    top: int,
    temperature: float,
) -> Plan:
    """The best of those that have a score teach; the best of all is the student, by default.

    Raises:
        ArgumentError: the student has no score, or no model has.
    """
    failed = {name: one.reason for name, one in found.items() if isinstance(one, Failed)}
    scored = {name: one for name, one in found.items() if isinstance(one, Found)}
    if student in failed:
        raise ArgumentError(f"the student {student} failed: {failed[student]}")
    if not scored:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise ArgumentError(f"no model has a score ({reasons})")
    names = sorted(scored, key=lambda name: -scored[name].evidence.score)
    by_name = {model.name: model for model in able}
    chosen = names[:top]
    scores = [scored[name].evidence.score for name in chosen]
    weights = teacher_weights(scores, temperature)
    return Plan(
        found={name: scored[name] for name in names},
        student=by_name[student or names[0]],
        best=by_name[names[0]],
        teachers=[
            Chosen(by_name[name], scored[name].evidence.means, float(weight))
            for name, weight in zip(chosen, weights, strict=True)
        ],
        failed=failed,
    )
