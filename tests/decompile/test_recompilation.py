"""Code objects that stand in for others."""

from __future__ import annotations

from types import CodeType, FunctionType

import pytest
from tests.decompile.test_decompilation import code_of

from crossdock.decompile import DecompileError, decompile, recompile


def test_names_file_and_flags_are_those_of_the_original() -> None:
    text = "from __future__ import annotations\ndef f(a: int, /, *b, c=1, **d):\n    return a"
    module = compile(text, "some.py", "exec", dont_inherit=True)
    code = next(one for one in module.co_consts if isinstance(one, CodeType))
    again = recompile(code, decompile(code))
    for name in ("co_name", "co_qualname", "co_filename", "co_flags", "co_varnames"):
        assert getattr(again, name) == getattr(code, name)


def test_edited_source_is_taken() -> None:
    code = code_of("def f(x):\n    return x + 1")
    again = recompile(code, decompile(code).replace("+ 1", "+ 2"))
    assert FunctionType(again, {})(1) == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(x, y):\n    return x", "signature"),
        ("def f(x):\n    yield x", "signature or kind"),
        ("def g(x):\n    return x", "no f"),
        ("def f(x):\n    return (", "does not compile"),
        ("def _enclosing():\n    y = 1\n    def f(x):\n        return y", "free variables"),
    ],
)
def test_what_does_not_fit_is_refused(source: str, message: str) -> None:
    code = code_of("def f(x):\n    return x + 1")
    with pytest.raises(DecompileError, match=message):
        recompile(code, source)


def test_free_variables_in_another_order() -> None:
    def outer(a: str, b: str) -> FunctionType:
        def inner() -> str:
            return a + (lambda: b + a)()

        return inner  # type: ignore[return-value]

    function = outer("a", "b")
    code = function.__code__
    raw = bytearray(code.co_code)
    first = len(code.co_varnames) + len(code.co_cellvars)
    import opcode

    cells = {"LOAD_DEREF", "LOAD_CLOSURE"}
    for at in range(0, len(raw), 2):
        if opcode.opname[raw[at]] in cells:
            raw[at + 1] = first + (1 - (raw[at + 1] - first))
    other = code.replace(co_code=bytes(raw), co_freevars=code.co_freevars[::-1])
    closure = function.__closure__
    assert closure is not None
    assert FunctionType(other, {}, closure=closure[::-1])() == "aba"
    again = recompile(other, decompile(other))
    assert again.co_freevars == ("b", "a")
    assert FunctionType(again, {}, closure=closure[::-1])() == "aba"
