"""Functions that compute annotations, as instructions. Whole ones are tested in newer Python."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from crossdock.decompile import late
from crossdock.decompile.instructions import Instruction

Given = tuple[str, int] | tuple[str, int, object]

FORMAT: tuple[Given, ...] = (
    ("NOP", 0),
    ("LOAD_FAST", 0, "format"),
    ("LOAD_CONST", 2, 2),
    ("COMPARE_OP", 4, ">"),
    ("POP_JUMP_IF_FALSE", 7),
    ("LOAD_COMMON_CONSTANT", 1, "NotImplementedError"),
    ("RAISE_VARARGS", 1),
)
IF_MET: tuple[Given, ...] = (
    ("LOAD_CONST", 0, 5),
    ("LOAD_DEREF", 2, late.MET),
    ("CONTAINS_OP", 0),
    ("POP_JUMP_IF_FALSE", 15),
)
NOTE: tuple[Given, ...] = (
    ("LOAD_GLOBAL", 0, "int"),
    ("COPY", 2),
    ("LOAD_CONST", 1, "a"),
    ("STORE_SUBSCR", 0),
)
MEETS: tuple[Given, ...] = (
    ("LOAD_NAME", 0, late.MET),
    ("LOAD_CONST", 0, 5),
    ("SET_ADD", 1),
    ("POP_TOP", 0),
)
END: Given = ("RETURN_VALUE", 0)


def after(*given: Given, name: str = late.NAME, flags: int = 3) -> str:
    """What the instructions become, without nothings; those with a meaning of their own."""
    found = [
        Instruction(one[0], one[1], one[2] if len(one) > 2 else one[1], -1, 2 * at, None)
        for at, one in enumerate(given)
    ]
    flow: Any = SimpleNamespace(
        instructions=found, code=SimpleNamespace(co_name=name, co_flags=flags)
    )
    late.take_together(flow)
    own = [f"{one.op}:{one.value}" if "ANNOT" in one.op else one.op for one in found]
    return " ".join(one for one in own if one != "NOP")


def test_what_notes_annotations_is_one_instruction_each() -> None:
    found = after(*FORMAT, ("BUILD_MAP", 0), *NOTE, *IF_MET, *NOTE, END)
    assert found == (
        "JUMP LOAD_COMMON_CONSTANT RAISE_VARARGS ANNOTATIONS:0 LOAD_GLOBAL ANNOTATION:a "
        "ANNOTATED_IF:5 LOAD_GLOBAL ANNOTATION:a RETURN_VALUE"
    )


def test_what_returns_a_dictionary_keeps_it() -> None:
    found = after(*FORMAT, ("LOAD_CONST", 0, "a"), ("LOAD_GLOBAL", 0, "int"), ("BUILD_MAP", 1), END)
    assert found.endswith("LOAD_CONST LOAD_GLOBAL BUILD_MAP RETURN_VALUE")


def test_functions_of_another_kind_are_let_be() -> None:
    plain = (("BUILD_MAP", 0), *NOTE, *IF_MET, *NOTE, END)
    ops = " ".join(one[0] for one in plain)
    assert after(*plain) == ops
    written = [
        ("LOAD_GLOBAL", *one[1:]) if one[0] == "LOAD_COMMON_CONSTANT" else one for one in FORMAT
    ]
    assert after(*written, *plain).endswith(ops)
    assert after(*FORMAT, *plain, name="T").endswith(ops)


def test_a_body_meets_annotations() -> None:
    assert after(*MEETS, END, name="K", flags=0) == "ANNOTATED:5 RETURN_VALUE"
    assert "SET_ADD" in after(*MEETS, END, name="f")
    other = (("LOAD_NAME", 0, "mine"), *MEETS[1:])
    assert "SET_ADD" in after(*other, END, name="K", flags=0)
