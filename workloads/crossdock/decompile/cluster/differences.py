"""What differs between the same compilation on two ranks, and in which line of the user's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from crossdock.decompile.cluster import canonical
from crossdock.decompile.cluster.lines import after_comment, in_graph
from crossdock.decompile.cluster.steps import Step, canonical_break, canonical_graph
from crossdock.decompile.dynamo.index import Guard, Line

DIFFERENCES_MAX = 50
"""Of one compilation that are told."""

Kind = Literal[
    "flag", "shape", "dtype", "tensor", "type", "state", "guard",
    "branch", "graph", "break", "recompile", "outcome", "order", "missing", "source",
]  # fmt: skip
"""``flag``: a value that is fixed by a guard. ``branch``: other lines ran. ``order``: the same
functions in another order. ``source``: the files of the ranks differ."""

_VALUES = frozenset(
    {
        "TRUE_MATCH",
        "FALSE_MATCH",
        "BOOL_MATCH",
        "NONE_MATCH",
        "EQUALS_MATCH",
        "CONSTANT_MATCH",
        "ID_MATCH",
        "NN_MODULE",
    }
)
_STATES = frozenset({"GLOBAL_STATE", "TORCH_FUNCTION_MODE_STACK", "DEFAULT_DEVICE", "GRAD_MODE"})
_ANNOTATION = re.compile(r'"[^"]*\[[^"]*"|"Sym\(.*?\)"|\bs\d+\b')


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one of the two has."""

    user: Line | None
    """The line of the user's source, by its path on the rank."""
    text: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in which they differ; None stands for a side that has nothing of the kind."""

    kind: Kind
    left: Side | None
    right: Side | None

    @property
    def user(self) -> Line | None:
        """The line to look at first."""
        sides = [side.user for side in (self.left, self.right) if side is not None]
        return next((user for user in sides if user is not None), None)

    def text(self) -> str:
        """Both sides in a line."""
        told = [side.text if side else "nothing" for side in (self.left, self.right)]
        return " | ".join(told)


def compare(left: Step, right: Step) -> list[Difference]:
    """All that differs, causes before effects; empty if nothing that counts does."""
    found: list[Difference] = []
    for differences in (_because, _guards, _graphs, _breaks, _outcome):
        found += differences(left, right)
        if len(found) >= DIFFERENCES_MAX:
            break
    return found[:DIFFERENCES_MAX]


def _because(left: Step, right: Step) -> Iterator[Difference]:
    ours, theirs = ([canonical.text(g.guard) for g in one.because] for one in (left, right))
    if ours != theirs:
        yield Difference(kind="recompile", left=recompiled(left), right=recompiled(right))


def recompiled(step: Step) -> Side | None:
    """Why a step was compiled again; None for the first time."""
    if not step.because:
        return None
    first = step.because[0]
    told = "; ".join(one.guard for one in step.because)
    return Side(user=after_comment(first.source, step) or step.user, text=told)


def _guards(left: Step, right: Step) -> Iterator[Difference]:
    ours, theirs = ({canonical.text(g.code): g for g in one.guards} for one in (left, right))
    gone = [guard for code, guard in ours.items() if code not in theirs]
    come = [guard for code, guard in theirs.items() if code not in ours]
    waiting = {_subject(guard): guard for guard in come}
    for guard in gone:
        other = waiting.pop(_subject(guard), None)
        yield _guard(left, guard, right, other)
    for guard in waiting.values():
        yield _guard(left, None, right, guard)


def _guard(left: Step, ours: Guard | None, right: Step, theirs: Guard | None) -> Difference:
    return Difference(
        kind=_kind([guard for guard in (ours, theirs) if guard is not None]),
        left=_guard_side(left, ours, theirs),
        right=_guard_side(right, theirs, ours),
    )


def _guard_side(step: Step, guard: Guard | None, other: Guard | None) -> Side | None:
    if guard is None:
        return None
    code = guard.code
    if other is not None and guard.kind == "TENSOR_MATCH" and other.kind == "TENSOR_MATCH":
        code = _differing_keywords(guard.code, other.code) or code
    return Side(user=after_comment(guard.source, step), text=code)


def _subject(guard: Guard) -> str:
    """What a guard is about, without the value that it wants."""
    try:
        tree = ast.parse(guard.code, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return re.sub(r"\d+", "*", canonical.text(guard.code))
    if isinstance(tree, ast.Compare) and len(tree.ops) == 1:
        sides = (tree.left, tree.comparators[0])
        about = next((one for one in sides if not isinstance(one, ast.Constant)), tree.left)
        return canonical.text(ast.unparse(about))
    if isinstance(tree, ast.Call) and tree.args:
        if isinstance(tree.args[0], ast.Constant):  # such as of the global state
            return ast.unparse(tree.func)
        return canonical.text(f"{ast.unparse(tree.func)} of {ast.unparse(tree.args[0])}")
    return canonical.text(guard.code)


def _arguments(code: str) -> dict[str, str]:
    """Of ``check_tensor(value, type, keys, dtype, size=[...], ...)``, by name."""
    try:
        tree = ast.parse(code, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    if not isinstance(tree, ast.Call):
        return {}
    names = ("value", "type", "keys", "dtype")
    found = {name: ast.unparse(one) for name, one in zip(names, tree.args, strict=False)}
    return found | {word.arg: ast.unparse(word.value) for word in tree.keywords if word.arg}


def _differing_keywords(code: str, other: str) -> str:
    ours, theirs = _arguments(code), _arguments(other)
    told = [
        f"{name}={value}"
        for name, value in ours.items()
        if canonical.text(f"{name}={value}") != canonical.text(f"{name}={theirs.get(name)}")
    ]
    return f"{ours.get('value', '')}: {', '.join(told)}" if told else ""


def _kind(guards: Sequence[Guard]) -> Kind:
    kinds = {guard.kind for guard in guards}
    if kinds == {"TENSOR_MATCH"} and len(guards) == 2:
        return _tensor_kind(_arguments(guards[0].code), _arguments(guards[1].code))
    if any(".size()" in guard.code or ".stride()" in guard.code for guard in guards):
        return "shape"
    if kinds & _STATES:
        return "state"
    if kinds <= _VALUES:
        return "flag"
    return "type" if kinds == {"TYPE_MATCH"} else "guard"


def _tensor_kind(ours: dict[str, str], theirs: dict[str, str]) -> Kind:
    parts = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    if parts & {"size", "stride"}:
        return "shape"
    return "dtype" if "dtype" in parts else "tensor"


def _graphs(left: Step, right: Step) -> Iterator[Difference]:
    """The first line of the first kind of graph that differs: what follows comes of it."""
    kinds = list(dict.fromkeys([*left.graphs, *right.graphs]))
    for kind in kinds:
        ours, theirs = left.graphs.get(kind), right.graphs.get(kind)
        if ours is None or theirs is None:
            told = f"{kind.replace('_', ' ')} is there"
            yield Difference(
                kind="graph",
                left=None if ours is None else Side(user=left.user, text=told),
                right=None if theirs is None else Side(user=right.user, text=told),
            )
            return
        if canonical_graph(ours) != canonical_graph(theirs):
            yield _graph(left, ours, right, theirs)
            return


def _graph(left: Step, ours: str, right: Step, theirs: str) -> Difference:
    rows, others = canonical_graph(ours).splitlines(), canonical_graph(theirs).splitlines()
    shared = min(len(rows), len(others))
    at = next((n for n in range(shared) if rows[n] != others[n]), shared)
    sides = [
        Side(user=in_graph(text, at, step) or step.user, text=_row(text, at))
        for text, step in ((ours, left), (theirs, right))
    ]
    plain = [_ANNOTATION.sub("", one[at]) if at < len(one) else None for one in (rows, others)]
    lines = [(side.user.line, side.user.function) if side.user else None for side in sides]
    kind: Kind = "graph"
    if plain[0] == plain[1]:
        kind = "shape"
    elif lines[0] != lines[1]:
        kind = "branch"
    return Difference(kind=kind, left=sides[0], right=sides[1])


def _row(text: str, at: int) -> str:
    rows = text.splitlines()
    return " ".join(rows[at].split()) if at < len(rows) else "the graph has ended"


def _breaks(left: Step, right: Step) -> Iterator[Difference]:
    ours, theirs = (
        {canonical_break(one, step.root): one for one in step.breaks} for step in (left, right)
    )
    gone = [one for told, one in ours.items() if told not in theirs]
    come = [one for told, one in theirs.items() if told not in ours]
    for number in range(max(len(gone), len(come))):
        sides = [
            Side(user=one[number].user or step.user, text=one[number].reason)
            if number < len(one)
            else None
            for one, step in ((gone, left), (come, right))
        ]
        yield Difference(kind="break", left=sides[0], right=sides[1])


def _outcome(left: Step, right: Step) -> Iterator[Difference]:
    if canonical.text(left.outcome) != canonical.text(right.outcome):
        yield Difference(
            kind="outcome",
            left=Side(user=left.user, text=left.outcome),
            right=Side(user=right.user, text=right.outcome),
        )
