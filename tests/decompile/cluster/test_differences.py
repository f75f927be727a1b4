"""Ranks that compile a function otherwise are told apart by what differs, and by its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from tests.decompile.cluster.ranks import compared
from tests.decompile.cluster.test_histories import history
from tests.decompile.dynamo.dumps import eager

from crossdock.decompile.cluster.differences import compare
from crossdock.decompile.cluster.histories import Divergence
from crossdock.decompile.dynamo.index import Guard

ENVIRONMENT = {"mode": "plain"}


def helped(x: torch.Tensor, scale: float) -> torch.Tensor:
    if scale > 1:
        return x.sin() * scale
    return x.cos() * scale


def calls(x: torch.Tensor, flag: bool) -> torch.Tensor:
    y = x + 1
    if flag:
        torch._dynamo.graph_break()
    return y * 2


def chooses(x: torch.Tensor, way: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    z = way(x)
    return z + 1


def line(function: Callable[..., object], below: int) -> int:
    """The line so many below the one with ``def``."""
    return function.__code__.co_firstlineno + below


def run(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    """The function compiled and called once."""
    return lambda: eager(function, dynamic=False)(*arguments)


def only(found: list[Divergence]) -> Divergence:
    (one,) = found
    assert (one.left_ranks, one.right_ranks) == ([0], [1])
    return one


@pytest.mark.parametrize(
    ("ours", "theirs", "kind", "told"),
    [
        (torch.ones(3), torch.ones(4), "shape", "size=[3] | L['x']: size=[4]"),
        (torch.ones(3), torch.ones(3).double(), "dtype", "torch.float32 | L['x']"),
        (torch.ones(3), torch.ones(3, requires_grad=True), "tensor", "requires_grad=False |"),
        (torch.ones(2, 3), torch.ones(3, 2).t(), "shape", "stride=[3, 1] | L['x']: stride=[1, 2]"),
    ],
)
def test_tensors(
    tmp_path: Path, ours: torch.Tensor, theirs: torch.Tensor, kind: str, told: str
) -> None:
    first = only(compared(tmp_path, run(helped, ours, 2.0), run(helped, theirs, 2.0))).first
    assert first.kind == kind
    assert told in first.text()
    assert first.user is not None
    assert (first.user.file, first.user.line) == (__file__, line(helped, 2))


def test_a_value_and_the_branch_that_comes_of_it(tmp_path: Path) -> None:
    x = torch.ones(3)
    found = only(compared(tmp_path, run(helped, x, 2.0), run(helped, x, 0.5)))
    flag, branch = found.differences
    assert (flag.kind, flag.text()) == ("flag", "L['scale'] == 2.0 | L['scale'] == 0.5")
    assert flag.user is not None
    assert flag.user.line == line(helped, 1)
    assert branch.kind == "branch"
    lines = [side.user.line for side in (branch.left, branch.right) if side and side.user]
    assert lines == [line(helped, 2), line(helped, 3)]


def test_a_break_on_one_side(tmp_path: Path) -> None:
    x = torch.ones(3)
    found = compared(tmp_path, run(calls, x, False), run(calls, x, True))
    kinds = [one.kind for one in found[0].differences]
    assert kinds[0] == "flag"
    broken = found[0].differences[kinds.index("break")]
    assert broken.left is None
    assert broken.right is not None
    assert broken.right.user is not None
    assert broken.right.user.line == line(calls, 3)
    assert [one.kind for one in found[1].differences] == ["missing"], "the resume function"
    assert found[1].right_ranks == [0] or found[1].left_ranks == [0]


def test_global_state(tmp_path: Path) -> None:
    def without_gradients() -> None:
        with torch.no_grad():
            run(helped, torch.ones(3), 2.0)()

    found = only(compared(tmp_path, run(helped, torch.ones(3), 2.0), without_gradients))
    assert found.first.kind == "state"


def test_recompilations_for_other_reasons(tmp_path: Path) -> None:
    def again(x: torch.Tensor, scale: float) -> Callable[[], None]:
        def body() -> None:
            compiled = eager(helped, dynamic=False)
            compiled(torch.ones(3), 2.0)
            compiled(x, scale)

        return body

    found = only(compared(tmp_path, again(torch.ones(3), 3.0), again(torch.ones(5), 2.0)))
    first = found.first
    assert (found.turn, first.kind) == (1, "recompile")
    assert "scale" in first.text()
    assert "size mismatch at index 0. expected 3, actual 5" in first.text()
    assert first.right is not None
    assert first.right.user is not None
    assert first.right.user.line == line(helped, 2), "where the tensor is used"


def test_a_failed_compilation(tmp_path: Path) -> None:
    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        raise RuntimeError("no such kernel")

    def body() -> None:
        with pytest.raises(Exception, match="no such kernel"):
            torch.compile(helped, backend=backend)(torch.ones(3), 2.0)

    found = only(compared(tmp_path, run(helped, torch.ones(3), 2.0), body))
    outcome = found.differences[-1]
    assert outcome.kind == "outcome"
    assert "no such kernel" in outcome.text()


def test_objects_of_their_own_are_no_difference(tmp_path: Path) -> None:
    def made() -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: x.sin()

    x = torch.ones(3)
    bodies = [run(chooses, x, made()) for _ in range(3)]
    assert compared(tmp_path, *bodies) == []


def test_counters_and_symbols_are_no_difference(tmp_path: Path) -> None:
    """One rank compiles a function more, so that torch counts on: only that one differs."""

    def body(more: bool) -> Callable[[], None]:
        def run_all() -> None:
            if more:
                eager(chooses)(torch.ones(3), torch.sin)
            compiled = eager(calls)
            for size in (3, 4, 5):
                compiled(torch.ones(size), True)

        return run_all

    found = compared(tmp_path, body(False), body(True))
    assert {one.function.function for one in found} == {"chooses"}


@pytest.mark.parametrize("more_on_the_left", [False, True])
def test_a_guard_that_only_one_rank_has(more_on_the_left: bool) -> None:
    (plain,) = history("a")
    guard = Guard(kind="EQUALS_MATCH", code="L['m'] == 2")
    more = msgspec.structs.replace(plain, guards=[*plain.guards, guard])
    (found,) = compare(more, plain) if more_on_the_left else compare(plain, more)
    has, lacks = (found.left, found.right) if more_on_the_left else (found.right, found.left)
    assert lacks is None
    assert has is not None
    assert has.text == guard.code
