"""Texts of Dynamo on graph breaks and failed guards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossdock.decompile.dynamo.breaks import DETAILS_LENGTH_MAX, failed_guards, graph_break
from crossdock.decompile.dynamo.index import FailedGuard, Line

CALL = """Graph break in user code at /home/me/model.py:13
Graph Break Reason: Encountered graph break when attempting to trace CALL: a function call:

Failed to trace builtin operator
  Explanation: Dynamo does not know how to trace builtin operator `print`
  Hint: Avoid calling builtin `print`.

User code traceback:
  File "/home/me/main.py", line 4, in <module>
    train()
  File "/home/me/model.py", line 13, in forward
    print("break")

Traceback (most recent call last):
  File "/lib/torch/_dynamo/symbolic_convert.py", line 1, in inner
"""

SKIPPED = """Graph break: torch.compile cannot properly resume from this graph break.
torch.compile will skip tracing the frame forward (model.py line 3) and fall back to eager.
The graph break occurred in the following user code:
  File "/home/me/model.py", line 5, in forward
    for x in y:
"""


def test_the_place_the_reason_and_the_advice() -> None:
    found = graph_break("0/0", CALL)
    assert found.user == Line(file="/home/me/model.py", line=13, function="forward")
    assert found.reason == "Failed to trace builtin operator"
    assert "Hint: Avoid" in found.details
    assert "symbolic_convert" not in found.details
    assert "main.py" not in found.details


def test_a_skipped_frame_is_placed_by_its_traceback() -> None:
    found = graph_break(None, SKIPPED)
    assert found.user == Line(file="/home/me/model.py", line=5, function="forward")
    assert found.reason.startswith("Graph break: torch.compile cannot properly resume")


@given(st.text())
def test_any_text_gives_a_break(text: str) -> None:
    found = graph_break("0/0", text)
    assert found.reason or not found.details
    assert len(found.details) <= DETAILS_LENGTH_MAX


def test_one_failed_guard() -> None:
    text = "0/0: n == 1      # y = x.sin() + n  # model.py:12 in f\nUser stack trace:\n  File"
    assert failed_guards(text) == [
        FailedGuard(compile_id="0/0", guard="n == 1", source="y = x.sin() + n # model.py:12 in f")
    ]


def test_several_failed_guards() -> None:
    first, second = failed_guards(["0/1: tensor 'x' size mismatch at index 0", "!1/0/0: n == 1"])
    assert (first.compile_id, first.guard) == ("0/1", "tensor 'x' size mismatch at index 0")
    assert (second.compile_id, second.guard) == ("!1/0/0", "n == 1")


def test_a_guard_without_a_compilation() -> None:
    assert failed_guards("unknown") == [FailedGuard(compile_id="", guard="unknown")]
