"""Histories side by side: nothing is told where nothing differs, and the first comes first."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from crossdock.decompile.cluster.histories import divergences
from crossdock.decompile.cluster.steps import Step
from crossdock.decompile.dynamo.index import FailedGuard, Guard, Line


def line(function: str, number: int = 1, file: str = "/job/model.py") -> Line:
    return Line(file=file, line=number, function=function)


def history(*names: str, caller: int = 100, root: str = "/job") -> list[Step]:
    """Compilations of the main thread; the same name again is the same function again."""
    made: list[Step] = []
    for position, name in enumerate(names):
        turn = names[:position].count(name)
        made.append(
            Step(
                user=line(name, ord(name[0]), f"{root}/model.py"),
                root=root,
                turn=turn,
                position=position,
                compile_id=f"{position}/0",
                called_from=[line("<module>", caller + position, f"{root}/model.py")],
                because=[FailedGuard(compile_id="0/0", guard="n == 1")] if turn else [],
                guards=[Guard(kind="EQUALS_MATCH", code="L['n'] == 1")],
            )
        )
    return made


def changed(step: Step, code: str) -> Step:
    return msgspec.structs.replace(step, guards=[Guard(kind="EQUALS_MATCH", code=code)])


NAMES = st.lists(st.sampled_from("abcde"), max_size=8)


@settings(deadline=None)
@given(NAMES, st.integers(1, 5))
def test_equal_ranks_do_not_differ_wherever_their_script_lies(names: list[str], n: int) -> None:
    ranks = {rank: history(*names, root=f"/on/rank/{rank}") for rank in range(n)}
    assert divergences(ranks) == []


@settings(deadline=None)
@given(NAMES, NAMES)
def test_ranks_differ_if_and_only_if_their_histories_do(ours: list[str], theirs: list[str]) -> None:
    found = divergences({0: history(*ours), 1: history(*theirs)})
    assert bool(found) == (ours != theirs)
    if found:
        first = next(n for n in range(9) if ours[n : n + 1] != theirs[n : n + 1])
        assert found[0].position == first
        assert found == sorted(found, key=lambda one: one.position or 0)


@settings(deadline=None)
@given(NAMES.filter(bool), st.data())
def test_one_guard_is_found_where_it_is(names: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(names) - 1))
    odd = data.draw(st.integers(0, 3))
    ranks = {rank: history(*names) for rank in range(4)}
    ranks[odd][at] = changed(ranks[odd][at], "L['n'] == 2")
    (found,) = divergences(ranks)
    assert (found.position, found.right_ranks) == (at, [odd])
    assert found.left_ranks == [rank for rank in range(4) if rank != odd]
    assert found.first.text() == "L['n'] == 1 | L['n'] == 2"


def test_three_ways() -> None:
    ranks = {rank: history("a") for rank in range(4)}
    for rank in (1, 3):
        ranks[rank][0] = changed(ranks[rank][0], f"L['n'] == {rank + 1}")
    found = divergences(ranks)
    assert [(one.left_ranks, one.right_ranks) for one in found] == [([0, 2], [1]), ([0, 2], [3])]


def test_a_branch_is_told_by_the_lines_that_called() -> None:
    ours, theirs = history("a", "b", "d"), history("a", "c", "d", caller=200)
    found = divergences({0: ours, 1: theirs})
    first = found[0].first
    assert first.kind == "branch"
    assert first.left is not None
    assert first.right is not None
    assert [side.user and side.user.line for side in (first.left, first.right)] == [101, 201]
    assert len(found) == 1, "b and c are told by the branch"


def test_an_order() -> None:
    found = divergences({0: history("a", "b"), 1: history("b", "a")})
    assert [one.first.kind for one in found] == ["order"]


def test_a_recompilation_is_told_with_its_reason() -> None:
    found = divergences({0: history("a", "b"), 1: history("a", "a", "b")})
    assert found[0].first.kind == "recompile"
    assert found[0].function.function == "a"
    assert found[0].turn == 1
    assert "n == 1" in found[0].first.text()


def test_a_rank_that_stopped_early() -> None:
    found = divergences({0: history("a", "b", "c"), 1: history("a")})
    assert [(one.first.kind, one.position) for one in found] == [("missing", 1), ("missing", 2)]
    assert found[0].right_ranks == [1]


def test_other_threads_may_come_in_any_order() -> None:
    ours = [msgspec.structs.replace(one, position=None) for one in history("a", "b")]
    assert divergences({0: ours, 1: ours[::-1]}) == []
    (found,) = divergences({0: ours, 1: ours[:1]})
    assert (found.first.kind, found.position) == ("missing", None)


def test_files_of_two_versions() -> None:
    theirs = history("a")
    moved = msgspec.structs.replace(theirs[0].user, line=3)
    found = divergences({0: history("a"), 1: [msgspec.structs.replace(theirs[0], user=moved)]})
    assert found[0].first.kind == "source"
