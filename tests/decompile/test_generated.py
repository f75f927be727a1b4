"""Random programs: trees of statements that log what they do."""

from __future__ import annotations

from types import CodeType, FunctionType

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.decompile.running import looped, outcomes, swapped

from crossdock.decompile import Decompilation

TESTS = ("x > 2", "x", "not x", "x and n", "x or n < 3", "0 < n < x", "x in (1, 2)", "n is None")
LEAVES = ("log.append({at})", "n += 1", "return {at}", "raise KeyError({at})", "pass", "y = n, x")
IN_LOOPS = ("break", "continue")


def indented(body: list[str]) -> list[str]:
    """One step in."""
    return [f"    {line}" for line in body]


@st.composite
def bodies(draw: st.DrawFn, depth: int, in_loop: bool) -> list[str]:
    """A few statements."""
    found: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        found += draw(statements(depth, in_loop))
    return found


@st.composite
def statements(draw: st.DrawFn, depth: int, in_loop: bool) -> list[str]:
    """One statement, maybe with bodies."""
    at = draw(st.integers(0, 99))
    kinds = ["leaf", "leaf"]
    if depth:
        kinds += ["if", "else", "for", "while", "try", "finally", "with"]
    kind = draw(st.sampled_from(kinds))
    test = draw(st.sampled_from(TESTS))
    if kind == "leaf":
        leaves = LEAVES + (IN_LOOPS if in_loop else ())
        return [draw(st.sampled_from(leaves)).format(at=at)]
    inner = draw(bodies(depth - 1, in_loop or kind in {"for", "while"}))
    other = draw(bodies(depth - 1, in_loop))
    if kind == "if":
        return [f"if {test}:", *indented(inner)]
    if kind == "else":
        return [f"if {test}:", *indented(inner), "else:", *indented(other)]
    if kind == "for":
        tail = ["else:", *indented(other)] if draw(st.booleans()) else []
        return [f"for i{depth} in range(3):", *indented(inner), *tail]
    if kind == "while":
        tail = ["else:", *indented(other)] if draw(st.booleans()) else []
        head = ["n += 1", "if n > 9: break"]
        return [f"while {test}:", *indented([*head, *inner]), *tail]
    if kind == "try":
        named = draw(st.sampled_from(["KeyError", "KeyError as e", "(OSError, KeyError)"]))
        tail = ["else:", *indented(other)] if draw(st.booleans()) else []
        return ["try:", *indented(inner), f"except {named}:", *indented(other), *tail]
    if kind == "finally":
        return ["try:", *indented(inner), "finally:", *indented(["log.append('f')", "n += 1"])]
    return [f"with manager(log, {at}) as y:", *indented(inner)]


class Manager:
    """Logs; swallows what it is told to."""

    def __init__(self, log: list[object], at: int) -> None:
        self.log, self.at = log, at

    def __enter__(self) -> int:
        self.log.append(("enter", self.at))
        return self.at

    def __exit__(self, kind: object, value: object, trace: object) -> bool:
        self.log.append(("exit", self.at, kind))
        return self.at % 2 == 0


@given(bodies(3, False))
@settings(max_examples=150, deadline=None)
def test_random_programs(body: list[str]) -> None:
    text = "\n".join(["def f(log, x):", "    n = 0", *indented(body)])
    module = compile(text, "random", "exec")
    code = next(one for one in module.co_consts if isinstance(one, CodeType))
    function = FunctionType(code, {"manager": Manager, "__builtins__": __builtins__})
    expected = outcomes(function)
    found = Decompilation(code)
    assert found.verdict.proved or found.reasons
    assert outcomes(swapped(function, found.source)) == expected
    assert outcomes(swapped(function, looped(code))) == expected
