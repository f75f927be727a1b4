"""What is not the same is never proved."""

from __future__ import annotations

import operator
import warnings

import pytest
from tests.decompile.test_decompilation import code_of

from crossdock.decompile import decompile, verify
from crossdock.decompile.lockstep import same_constant

PLAIN = "def f(x):\n    return g(x)"
CAUGHT = "def f(x):\n    try:\n        return g(x)\n    except E:\n        return h(x)"
AFTER = "def f(x):\n    try:\n        a(x)\n    except E:\n        b(x)\n    c(x)\n    return x"
WITHIN = (
    "def f(x):\n    try:\n        a(x)\n        c(x)\n    except E:\n        b(x)\n    return x"
)

OTHERS = {
    "a handler is lost": (CAUGHT, PLAIN),
    "a handler is new": (PLAIN, CAUGHT),
    "a handler covers more": (AFTER, WITHIN),
    "a handler covers less": (WITHIN, AFTER),
    "another handler": (CAUGHT, CAUGHT.replace("h(x)", "i(x)")),
    "another exception": (CAUGHT, CAUGHT.replace("E", "F")),
    "an exception that none asks for": (CAUGHT, CAUGHT.replace("except E", "except")),
    "another name": (PLAIN, PLAIN.replace("g(x)", "h(x)")),
    "a number of another type": ("def f(x):\n    return 1", "def f(x):\n    return True"),
    "a zero of another sign": ("def f(x):\n    return 0.0", "def f(x):\n    return -0.0"),
    "operands that are swapped": (
        "def f(x, y):\n    return x - y",
        "def f(x, y):\n    return y - x",
    ),
    "a condition that is turned": (
        "def f(x):\n    if x:\n        a()\n    else:\n        b()",
        "def f(x):\n    if not x:\n        a()\n    else:\n        b()",
    ),
    "a nested function": (
        "def f(x):\n    return lambda y: x + y",
        "def f(x):\n    return lambda y: y + x",
    ),
    "a step that is left out": ("def f(x):\n    a(x)\n    b(x)", "def f(x):\n    a(x)"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_differs_is_not_proved(name: str) -> None:
    original, source = OTHERS[name]
    verdict = verify(code_of(original), source)
    assert not verdict.proved
    assert verify(code_of(original), original).proved, "the same text is"


def test_the_verdict_says_where() -> None:
    verdict = verify(code_of(CAUGHT), PLAIN)
    assert "under another handler" in str(verdict)


def test_warnings_of_the_code_are_no_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = code_of("def f(x):\n    return x is 1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert verify(code, decompile(code)).proved
        with pytest.raises(SyntaxWarning, match="as before"):
            warnings.warn("filters are as before", SyntaxWarning, stacklevel=1)


def test_slices_are_compared_by_the_types_of_their_parts() -> None:
    assert same_constant(slice(1, None), slice(1, None), operator.eq)
    assert not same_constant(slice(1, None), slice(True, None), operator.eq)
    assert not same_constant((slice(None, 1.0),), (slice(None, 1),), operator.eq)
