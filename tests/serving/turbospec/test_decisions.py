"""The log of decisions, read back."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec.decisions import Decision, read

LINE: dict[str, Any] = {
    "time": 100.5,
    "rank": 0,
    "steps": 4,
    "requests": 8.0,
    "context": 800.0,
    "prefill": 0.0,
    "draft_length": 2,
    "reason": "goodput",
    "verified": 64,
    "predicted_tokens": 60.0,
    "predicted_seconds": 0.5,
    "tokens": 50,
    "seconds": 0.5,
    "judged": [32, 20],
    "accepted": [20, 6],
}


def written(folder: Path, *lines: dict[str, Any] | str, end: str = "\n") -> Path:
    """A log of these lines."""
    path = folder / "decisions.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + end)
    return path


def test_a_line_says_what_came_of_it(tmp_path: Path) -> None:
    (decision,) = read(written(tmp_path, LINE))
    assert decision.goodput == 100
    assert decision.predicted_goodput == 120
    assert decision.acceptance == 26 / 52


def test_lines_of_several_ranks_are_put_in_order(tmp_path: Path) -> None:
    found = read(written(tmp_path, LINE | {"time": 3.0}, LINE | {"rank": 1, "time": 2.0}))
    assert [d.rank for d in found] == [1, 0]


def test_where_nothing_was_chosen_nothing_was_promised(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {"draft_length": None, "reason": None, "predicted_tokens": None}
    nothing |= {"predicted_seconds": None, "judged": [], "accepted": []}
    (decision,) = read(written(tmp_path, LINE | nothing))
    assert decision.predicted_goodput is None
    assert decision.acceptance is None


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    assert len(read(written(tmp_path, LINE, '{"time": 1', end=""))) == 1


@pytest.mark.parametrize(
    "bad", ["", "no json", "[]", '{"time": 1}', json.dumps(LINE | {"rank": "a"})]
)
def test_a_foreign_line_is_named_by_number(tmp_path: Path, bad: str) -> None:
    with pytest.raises(ArgumentError, match=r"line 2 of .* is not of a log of decisions"):
        read(written(tmp_path, LINE, bad))


@pytest.mark.parametrize("text", ["", '{"time": 1'])
def test_an_empty_log_is_said_to_be_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(ArgumentError, match="has no decision"):
        read(path)


@given(st.binary(max_size=200))
def test_whatever_lies_there_is_read_or_refused(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(data)
    with contextlib.suppress(ArgumentError):
        assert all(isinstance(d, Decision) for d in read(path))
