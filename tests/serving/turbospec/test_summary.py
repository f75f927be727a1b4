"""What a log comes to."""

import msgspec
import pytest
from tests.serving.turbospec.test_decisions import LINE

from crossdock.serving.turbospec.decisions import Decision
from crossdock.serving.turbospec.summary import summarize

DECISION = msgspec.convert(LINE, Decision)


def line(**changes: object) -> Decision:
    return msgspec.structs.replace(DECISION, **changes)


def test_times_are_shared_out() -> None:
    summary = summarize(
        [line(), line(draft_length=0, reason="off", seconds=1.5, tokens=30), line()]
    )
    assert summary.whole.seconds == 2.5
    assert summary.whole.goodput == 130 / 2.5
    assert list(summary.by_length) == [0, 2]  # the longest time first
    assert summary.by_length[2].steps == 8
    assert summary.by_reason["off"].goodput == 20


def test_acceptance_is_by_position() -> None:
    summary = summarize([line(judged=(10, 4, 0), accepted=(4, 1, 0)), line()])
    assert summary.acceptance == [24 / 42, 7 / 24, None]


def test_changes_are_of_a_rank_and_not_of_probes() -> None:
    lengths = [2, 2, 0, 0, 3]
    lines = [line(draft_length=k) for k in lengths]
    lines.insert(3, line(draft_length=4, reason="probe"))
    lines += [line(rank=1, draft_length=5)] * 3
    assert summarize(lines).changes == 2


def test_predictions_are_held_against_what_came() -> None:
    assert summarize([line()]).off_by == pytest.approx(0.2)
    unforeseen = line(predicted_tokens=None, tokens=10_000)
    assert summarize([line(), unforeseen]).off_by == pytest.approx(0.2)
    assert summarize([unforeseen]).off_by is None
