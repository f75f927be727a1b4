"""Instructions of newer versions become those that the decompiler knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crossdock.decompile import lowering
from crossdock.decompile.errors import Unstructured
from crossdock.decompile.exception_table import Entry
from crossdock.decompile.instructions import Instruction
from crossdock.decompile.versions import python311, python312, python313, python314, table

NEWER = replace(
    table.running(),
    joins={**python312.JOINS, **python313.JOINS, **python314.JOINS},
    guards_generators=True,
)
HANDLER = Entry(0, 100, 90, 0, True)


def listed(*given: tuple[str, int] | tuple[str, int, object]) -> list[Instruction]:
    """Instructions, two bytes each."""
    return [
        Instruction(one[0], one[1], one[2] if len(one) > 2 else one[1], -1, 2 * at, None)
        for at, one in enumerate(given)
    ]


def ops(*given: tuple[str, int] | tuple[str, int, object], targets: set[int] | None = None) -> str:
    """What they become."""
    found = lowering.lowered(listed(*given), NEWER, targets or set())
    return " ".join(f"{one.op}:{one.arg}@{one.offset}" for one in found)


KEPT = (("COPY", 1), ("TO_BOOL", 0), ("POP_JUMP_IF_FALSE", 9), ("POP_TOP", 0))


def test_a_tested_value_is_kept() -> None:
    assert ops(*KEPT) == "JUMP_IF_FALSE_OR_POP:9@0"
    assert ops(KEPT[0], KEPT[2], KEPT[3]) == "JUMP_IF_FALSE_OR_POP:9@0"


@pytest.mark.parametrize("target", [4, 6])
def test_nothing_is_joined_where_control_comes_from_elsewhere(target: int) -> None:
    assert "POP_TOP" in ops(*KEPT, targets={target})


def test_another_copy_is_none() -> None:
    assert ops(("COPY", 2), *KEPT[2:]) == "COPY:2@0 POP_JUMP_IF_FALSE:9@2 POP_TOP:0@4"


def test_truth_is_that_of_the_test() -> None:
    assert ops(("TO_BOOL", 0), ("UNARY_NOT", 0)) == "UNARY_NOT:0@0"
    assert ops(("TO_BOOL", 0), ("RETURN_VALUE", 0)) == "TO_BOOL:0@0 RETURN_VALUE:0@2"
    first, second = listed(("LOAD_FAST", 0), ("POP_JUMP_IF_NONE", 3))
    first.handler = HANDLER
    assert lowering.lowered([first, second], NEWER, set())[1].handler is HANDLER


def test_names_of_arguments() -> None:
    assert ops(("LOAD_CONST", 1, ("a",)), ("CALL_KW", 2)) == "KW_NAMES:1@0 CALL:2@2"
    assert ops(("LOAD_FAST", 1), ("CALL_KW", 2)) == "LOAD_FAST:1@0 CALL_KW:2@2"


def test_what_functions_are_made_with() -> None:
    made = (("LOAD_FAST", 3), ("BUILD_TUPLE", 1), ("LOAD_CONST", 0), ("MAKE_FUNCTION", 0))
    closure = ops(*made, ("SET_FUNCTION_ATTRIBUTE", 8), ("SET_FUNCTION_ATTRIBUTE", 1))
    assert closure == "LOAD_CLOSURE:3@0 BUILD_TUPLE:1@2 LOAD_CONST:0@4 MAKE_FUNCTION:9@6"
    defaults = ops(*made, ("SET_FUNCTION_ATTRIBUTE", 1))
    assert defaults.startswith("LOAD_FAST:3@0"), "a default is no cell"
    out_of_order = ops(*made, ("SET_FUNCTION_ATTRIBUTE", 1), ("SET_FUNCTION_ATTRIBUTE", 8))
    assert out_of_order.endswith("SET_FUNCTION_ATTRIBUTE:8@10")


def test_annotations_are_computed_between_cells_and_defaults() -> None:
    made = (("LOAD_CONST", 0), ("MAKE_FUNCTION", 0))
    assert ops(*made, ("SET_FUNCTION_ATTRIBUTE", 16), ("SET_FUNCTION_ATTRIBUTE", 3)).endswith("3@6")
    ordered = [("SET_FUNCTION_ATTRIBUTE", one) for one in (8, 16, 2, 1)]
    assert ops(*made, *ordered) == "LOAD_CONST:0@0 MAKE_FUNCTION:27@2"
    assert ops(*made, *ordered[1::-1]).endswith("MAKE_FUNCTION:16@2 SET_FUNCTION_ATTRIBUTE:8@6")


ENTERS = (
    ("COPY", 1),
    ("LOAD__EXIT__", 0),
    ("SWAP", 2),
    ("SWAP", 3),
    ("LOAD__ENTER__", 0),
    ("CALL", 0),
)


def test_a_manager_is_entered() -> None:
    assert ops(("LOAD_FAST", 0), *ENTERS) == "LOAD_FAST:0@0 BEFORE_WITH:1@2"
    later = [(f"LOAD__A{op.removeprefix('LOAD__')}" if "__" in op else op, n) for op, n in ENTERS]
    assert ops(*later) == "BEFORE_ASYNC_WITH:1@0"


@pytest.mark.parametrize("at", range(1, 6))
def test_a_manager_is_entered_in_one_go(at: int) -> None:
    assert "BEFORE_WITH" in ops(*ENTERS, targets={0})
    assert "BEFORE_WITH" not in ops(*ENTERS, targets={2 * at})
    other = [(op, n + 1 if place == at else n) for place, (op, n) in enumerate(ENTERS)]
    assert "BEFORE_WITH" not in ops(*other)


def test_a_call_has_a_mapping_or_a_null() -> None:
    first, null, swap, call = listed(
        ("LOAD_FAST", 0), ("PUSH_NULL", 0), ("SWAP", 2), ("CALL_FUNCTION_EX", 0)
    )
    swap.offset = null.offset  # the table makes both of one instruction
    without = lowering.lowered([first, null, swap, call], NEWER, {null.offset})
    assert [(one.op, one.arg, one.offset) for one in without[1:]] == [("CALL_FUNCTION_EX", 0, 2)]
    assert ops(("LOAD_FAST", 0), ("CALL_FUNCTION_EX", 0)).endswith("CALL_FUNCTION_EX:1@2")
    apart = (("PUSH_NULL", 0), ("SWAP", 2), ("CALL_FUNCTION_EX", 0))
    assert ops(*apart) == "PUSH_NULL:0@0 SWAP:2@2 CALL_FUNCTION_EX:1@4"


def test_small_numbers_are_constants_and_branches_not_taken_are_nothing() -> None:
    assert ops(("LOAD_SMALL_INT", 7), ("NOT_TAKEN", 0)) == "LOAD_CONST:7@0"
    assert ops(*KEPT[:3], ("NOT_TAKEN", 0), KEPT[3]) == "JUMP_IF_FALSE_OR_POP:9@0"


def threaded(*given: tuple[str, int]) -> list[str]:
    """What is left of instructions whose jumps lead to the instruction of that number."""
    found = listed(*given)
    for one in found:
        one.target = 2 * one.arg if "JUMP" in one.op else -1
    return [f"{one.op}:{one.target // 2}@{one.offset // 2}" for one in lowering.threaded(found)]


def test_a_copy_that_is_dropped_on_both_ways_is_not_made() -> None:
    first = (("COPY", 1), ("POP_JUMP_IF_FALSE", 7), ("POP_TOP", 0), ("LOAD_FAST", 0))
    second = (("COPY", 1), ("TO_BOOL", 0), ("POP_JUMP_IF_TRUE", 9), ("POP_TOP", 0))
    rest = (("LOAD_FAST", 0), ("RETURN_VALUE", 0))
    found = threaded(*first, *second, *rest)
    assert found[:3] == ["POP_JUMP_IF_FALSE:8@1", "LOAD_FAST:-1@3", "COPY:-1@4"]
    assert len(found) == len(first + second + rest) - 2
    plain = threaded(*first, ("LOAD_FAST", 0), *second[1:], *rest)
    assert len(plain) == len(first + second + rest), "where no copy is made for the second test"
    twice = threaded(*first, *second, ("POP_JUMP_IF_TRUE", 2), *rest)
    assert len(twice) == len(first + second + rest) + 1, "where control comes to what drops it"


def test_attributes_of_a_class_have_no_order() -> None:
    def names(*tail: tuple[str, int] | tuple[str, int, object], name: str) -> object:
        given = (("LOAD_CONST", 0, ("b", "a")), ("STORE_NAME", 1, name), *tail)
        return lowering.lowered(listed(*given), NEWER, set())[0].value

    end = (("LOAD_CONST", 1, None), ("RETURN_VALUE", 0))
    cell = (("LOAD_FAST", 0), ("COPY", 1), ("STORE_NAME", 2, "__classcell__"), end[1])
    assert names(*end, name="__static_attributes__") == ("a", "b")
    assert names(*cell, name="__static_attributes__") == ("a", "b")
    assert names(*end, name="mine") == ("b", "a")
    assert names(("NOP", 0), *end, name="__static_attributes__") == ("b", "a"), "not at its end"


def test_the_line_of_a_class_is_layout() -> None:
    given = listed(
        ("STORE_NAME", 0, "__qualname__"),
        ("LOAD_CONST", 1, 77),
        ("STORE_NAME", 2, "__firstlineno__"),
        ("LOAD_CONST", 1, 78),
        ("STORE_NAME", 2, "__firstlineno__"),
    )
    assert [one.value for one in lowering.lowered(given, NEWER, set())][1::2] == [0, 78]


def test_the_guard_of_a_generator_is_forgotten() -> None:
    body = listed(("RETURN_GENERATOR", 0), ("POP_TOP", 0), ("LOAD_FAST", 0), ("YIELD_VALUE", 0))
    end = [
        Instruction(lowering.STOP, 0, 0, -1, HANDLER.target, None),
        Instruction("RERAISE", 1, 1, -1, HANDLER.target + 2, None),
    ]
    for one in body[2:]:
        one.handler = HANDLER
    found = [*body, *end]
    lowering.unguard("f", found, True)
    assert all(one.handler is None for one in found)
    body[2].handler = HANDLER
    with pytest.raises(Unstructured, match="YIELD_VALUE at byte 6 is outside of the generator"):
        lowering.unguard("f", found, True)


def test_rules_are_known() -> None:
    for joins in (python311.TABLE.joins, python312.JOINS, python313.JOINS, python314.JOINS):
        assert set(joins.values()) <= set(lowering.RULES)
