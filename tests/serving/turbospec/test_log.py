"""The decision log and the totals hold what steps were, and add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crossdock.serving.turbospec import Plan, Step, Verified, Work, totals
from crossdock.serving.turbospec.driver import Outcome
from crossdock.serving.turbospec.log import DecisionLog
from crossdock.serving.turbospec.positions import Positions
from crossdock.serving.turbospec.totals import METRICS, Samples, Totals

_SEEN = Verified(["a", "b", "c"], [3, 2, 1], [3, 1, 0])


def outcome(
    length: int = 3, reason: str = "goodput", seconds: float = 0.25, busy: bool = True
) -> Outcome:
    plan = Plan(length, [], reason, tokens=6.0, seconds=0.2)
    return Outcome(0.0, Step(Work(4, 12, 100, length), seconds, _SEEN, 8), plan, 2, busy)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_drafts_are_judged_up_to_the_first_that_is_rejected() -> None:
    counts = Positions(4)
    counts.add(_SEEN)
    counts.add(Verified())
    assert counts.judged == [3, 2, 1, 0]
    assert counts.accepted == [2, 1, 1, 0]


def test_a_line_is_a_stretch_of_one_decision(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log", 4, rank=1, now=lambda: 1234.5678)
    for _ in range(5):
        log(outcome())
    log(outcome(0, "off"))
    log(outcome(0, "probe", busy=False))
    log(outcome(2))
    log.close()
    found = lines(tmp_path / "log")
    assert [(line["draft_length"], line["reason"], line["steps"]) for line in found] == [
        (3, "goodput", 4),
        (3, "goodput", 1),
        (0, "off", 1),
        (0, "probe", 1),
        (2, "goodput", 1),
    ]
    assert found[0] == {
        "time": 1234.568,
        "rank": 1,
        "steps": 4,
        "requests": 4.0,
        "context": 100.0,
        "prefill": 2.0,
        "draft_length": 3,
        "reason": "goodput",
        "verified": 24,
        "predicted_tokens": 24.0,
        "predicted_seconds": 0.8,
        "tokens": 32,
        "seconds": 1.0,
        "judged": [12, 8, 4, 0],
        "accepted": [8, 4, 4, 0],
    }


def test_no_plan_and_no_prediction_are_null(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log", 3)
    step = outcome().step
    log(Outcome(0.0, step, None, 0, busy=False))
    log(Outcome(0.0, step, Plan(0, [], "start", 0.0, 0.0), 0, busy=False))
    found = lines(tmp_path / "log")
    assert [line["reason"] for line in found] == [None, "start"]
    assert [line["draft_length"] for line in found] == [None, 0]
    assert {line["predicted_tokens"] for line in found} == {None}


def test_samples_add_up_and_travel(tmp_path: Path) -> None:
    exported: list[Samples] = []
    count = Totals(4, lambda: (True, 0.25), exported.append, every_s=0.9)
    for reason in ("goodput", "goodput", "hold", "probe"):
        count(outcome(reason=reason))
    assert len(exported) == 1
    count(outcome(busy=False))
    samples = exported[-1]
    assert samples.keys() == METRICS.keys()
    assert samples["decisions"] == {"goodput": 3, "hold": 1, "probe": 1}
    assert samples["tokens"] == {"": 40}
    assert samples["seconds"][""] == pytest.approx(1.25)
    assert samples["predicted_goodput"][""] == pytest.approx(30)
    assert samples["measured_goodput"][""] == pytest.approx(32)
    assert samples["regret"] == {"": 0.25}
    assert samples["accepted"] == {"1": 10, "2": 5, "3": 5, "4": 0}
    totals.write(tmp_path, 0, samples)
    totals.write(tmp_path, 1, exported[0])
    assert totals.read(tmp_path) == {"0": samples, "1": exported[0]}
