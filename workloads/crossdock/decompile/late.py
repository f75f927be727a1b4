"""Annotations that a function computes when they are asked for (PEP 649), as instructions.

The compiler begins such a function, and those of aliases and of bounds of type parameters, with a
test of the format that is asked for. That of a class or module makes a dictionary, and puts the
annotations into it one after the other; for those under a condition the body notes their numbers in
a set as they are met. Each of these becomes one instruction here:

``ANNOTATIONS`` makes the dictionary; ``ANNOTATION`` takes the annotation of the name that is its
value; ``ANNOTATED_IF`` says of the next one under which number it was met; ``ANNOTATED``, in the
body, is the place where it is met.
"""

from __future__ import annotations

from types import CodeType
from typing import TYPE_CHECKING

from crossdock.decompile import instructions

if TYPE_CHECKING:
    from crossdock.decompile.flow import Flow
    from crossdock.decompile.instructions import Instruction

NAME = "__annotate__"
"""Of the functions."""
MET = "__conditional_annotations__"
"""The numbers of annotations that were met."""
STORED = frozenset({"__annotate__", "__annotate_func__"})
"""Where a module or a class has its function."""

_FORMAT = (
    *("LOAD_FAST", "LOAD_CONST", "COMPARE_OP", "POP_JUMP_IF_FALSE"),
    *("LOAD_COMMON_CONSTANT", "RAISE_VARARGS"),
)
_LOADS = frozenset({"LOAD_NAME", "LOAD_GLOBAL", "LOAD_DEREF"})
_IS_FUNCTION = 1


def is_late(code: CodeType) -> bool:
    """Whether the compiler made the function, to compute something when it is asked for."""
    return bool(_test_of_format(instructions.read(code)))


def take_together(flow: Flow) -> None:
    """Make one instruction of what notes an annotation, and forget the test of the format."""
    found = flow.instructions
    test = _test_of_format(found)
    for one in test[:3]:
        one.op = "NOP"
    if test:
        test[3].op = "JUMP"
    computes = bool(test) and flow.code.co_name == NAME and _begins(found)
    for index in range(2, len(found) - 1):
        part = found[index - 2 : index + 2]
        if part[2].op == "STORE_SUBSCR" and computes:
            _annotation(*part[:3])
        elif part[2].op == "CONTAINS_OP" and computes:
            _annotated_if(*part)
        elif part[2].op == "SET_ADD" and not flow.code.co_flags & _IS_FUNCTION:
            _annotated(*part)


def _test_of_format(found: list[Instruction]) -> list[Instruction]:
    """The instructions of the test; none where code does not begin with it."""
    start = next((at for at, one in enumerate(found) if one.op != "NOP"), 0)
    test = found[start : start + len(_FORMAT)]
    if tuple(one.op for one in test) != _FORMAT or test[4].value != "NotImplementedError":
        return []
    return test


def _begins(found: list[Instruction]) -> bool:
    """Whether there is a dictionary before all annotations; makes that one instruction, too."""
    raised = next(at for at, one in enumerate(found) if one.op == "RAISE_VARARGS")
    first = next((one for one in found[raised + 1 :] if one.op != "NOP"), None)
    if first is None or (first.op, first.arg) != ("BUILD_MAP", 0):
        return False
    first.op = "ANNOTATIONS"
    return True


def _annotation(copy: Instruction, name: Instruction, store: Instruction) -> None:
    if (copy.op, copy.arg, name.op) == ("COPY", 2, "LOAD_CONST"):
        copy.op = name.op = "NOP"
        store.op, store.value = "ANNOTATION", name.value


def _annotated_if(
    number: Instruction, met: Instruction, test: Instruction, jump: Instruction
) -> None:
    if number.op == "LOAD_CONST" and met.op in _LOADS and met.value == MET and not test.arg:
        number.op = met.op = "NOP"
        test.op, test.value = "ANNOTATED_IF", number.value
        jump.op, jump.target = "NOP", -1


def _annotated(met: Instruction, number: Instruction, add: Instruction, drop: Instruction) -> None:
    if met.op in _LOADS and met.value == MET and (number.op, drop.op) == ("LOAD_CONST", "POP_TOP"):
        met.op = number.op = drop.op = "NOP"
        add.op, add.value = "ANNOTATED", number.value
