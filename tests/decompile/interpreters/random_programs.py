"""Random functions: trees of statements that log what they do. Needs no package."""

from __future__ import annotations

import random
from types import FunctionType
from typing import Any

TESTS = ("x > 2", "not x", "x and n", "x or n < 3", "0 < n < x", "x in (1, 2)", "n is None")
LEAVES = (
    *("log.append({at})", "n += 1", "return {at}", "raise KeyError({at})", "pass", "y = n, x"),
    *("log.append([n + i for i in range(x) if i])", "log.append(f'{{n!r:>3}}')", "y = x or n"),
    *("log.append({{i: [j for j in range(i)] for i in range(n)}})", "y = 1 if x else n"),
)
IN_LOOPS = ("break", "continue")
DEPTH = 3


def program(source: random.Random, number: int) -> FunctionType:
    """A function of a log and a number."""
    lines = [
        f"def random_{number}(log, x):",
        "    n = y = 0",
        *_indented(_body(source, DEPTH, False)),
    ]
    names: dict[str, Any] = {}
    exec("\n".join([*lines, "    return n, y"]), names)  # noqa: S102
    made = names[f"random_{number}"]
    assert isinstance(made, FunctionType)
    return made


def _indented(body: list[str]) -> list[str]:
    return [f"    {line}" for line in body]


def _body(source: random.Random, depth: int, in_loop: bool) -> list[str]:
    statements = [_statement(source, depth, in_loop) for _ in range(source.randint(1, 3))]
    return [line for statement in statements for line in statement]


def _statement(source: random.Random, depth: int, in_loop: bool) -> list[str]:
    kind = source.choice(["leaf", "leaf", "if", "for", "while", "try", "finally"])
    if kind == "leaf" or not depth:
        leaves = LEAVES + (IN_LOOPS if in_loop else ())
        return [source.choice(leaves).format(at=source.randint(0, 99))]
    test = source.choice(TESTS)
    inner = _indented(_body(source, depth - 1, in_loop or kind in {"for", "while"}))
    other = _indented(_body(source, depth - 1, in_loop))
    more = source.choice([["else:", *other], []])
    if kind == "if":
        return [f"if {test}:", *inner, *more]
    if kind == "for":
        return [f"for i{depth} in range(3):", *inner, *more]
    if kind == "while":
        return [f"while {test}:", "    n += 1", "    if n > 9: break", *inner, *more]
    if kind == "try":
        error = source.choice(["KeyError", "KeyError as e", "(OSError, KeyError)"])
        return ["try:", *inner, f"except {error}:", *other, *more]
    return ["try:", *inner, "finally:", *other]
