"""Constants that no source spells: the code and the globals of functions that Dynamo makes anew.

While code is decompiled a text stands for each, which is its place in the source too; when the
source is compiled to run, the constant is put back.
"""

from __future__ import annotations

import dis
import itertools
from collections.abc import Callable, Mapping
from types import CodeType

_SPELLED = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), frozenset, tuple)


def taken_out(code: CodeType) -> tuple[CodeType, dict[str, object]]:
    """The code with texts for such constants, those in code within it too, and what they are."""
    held: dict[str, object] = {}
    texts, values = _texts(code), _code_as_values(code)

    def text_for(value: object) -> object:
        if isinstance(value, _SPELLED) or (isinstance(value, CodeType) and id(value) not in values):
            return value
        for text, known in held.items():
            if known is value:
                return text
        text = f"<constant {len(held)}: {type(value).__name__}>"
        while text in texts:
            text = f"<{text}>"
        held[text] = value
        return text

    return _mapped(code, text_for), held


def put_back(code: CodeType, held: Mapping[str, object]) -> CodeType:
    """The code with the constants that texts stand for."""
    if not held:
        return code
    return _mapped(code, lambda value: held.get(value, value) if type(value) is str else value)


def _mapped(code: CodeType, change: Callable[[object], object]) -> CodeType:
    changed = (change(one) for one in code.co_consts)
    constants = tuple(_mapped(one, change) if isinstance(one, CodeType) else one for one in changed)
    same = all(one is two for one, two in zip(constants, code.co_consts, strict=True))
    return code if same else code.replace(co_consts=constants)


def _code_as_values(code: CodeType) -> set[int]:
    """The ids of code objects, in this one or deeper, that are no function's right away."""
    found: set[int] = set()
    for one, following in itertools.pairwise(dis.get_instructions(code)):
        if isinstance(one.argval, CodeType):
            if following.opname == "MAKE_FUNCTION":
                found |= _code_as_values(one.argval)
            else:
                found.add(id(one.argval))
    return found


def _texts(code: CodeType) -> set[str]:
    found = {one for one in code.co_consts if isinstance(one, str)}
    for one in code.co_consts:
        if isinstance(one, CodeType):
            found |= _texts(one)
    return found
