"""Several instructions of Python 3.10 that mean one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.decompile.test_lowering import listed

from crossdock.decompile import instructions, lowering
from crossdock.decompile.errors import CorruptCode
from crossdock.decompile.versions import python310, table

OLDER = replace(table.running(), joins=python310.JOINS)


def ops(*given: tuple[str, int] | tuple[str, int, object], targets: set[int] | None = None) -> str:
    """What they become."""
    found = lowering.lowered(listed(*given), OLDER, targets or set())
    return " ".join(f"{one.op}:{one.arg}@{one.offset}" for one in found)


def test_rules_are_known() -> None:
    assert set(python310.JOINS.values()) <= set(lowering.RULES)


def test_the_name_of_a_function_is_kept_for_comparison() -> None:
    made = (("LOAD_CONST", 0), ("LOAD_CONST", 1, "f.<locals>.g"), ("MAKE_FUNCTION", 1))
    found = lowering.lowered(listed(*made), OLDER, set())
    assert [one.op for one in found] == ["LOAD_CONST", "MAKE_FUNCTION"]
    assert (found[1].arg, found[1].value) == (1, (1, "f.<locals>.g"))
    with pytest.raises(CorruptCode, match="has no name"):
        ops(("LOAD_CONST", 0, 5), ("MAKE_FUNCTION", 0))
    with pytest.raises(CorruptCode, match="has no name"):
        ops(*made, targets={4})


def test_a_chain_of_comparisons() -> None:
    assert ops(("DUP_TOP", 0), ("ROT_N", 3)) == "SWAP:2@0 COPY:2@2"
    assert ops(("DUP_TOP", 0), ("ROT_N", 2)) == "DUP_TOP:0@0 ROT_N:2@2"
    assert ops(("DUP_TOP", 0), ("ROT_N", 3), targets={2}) == "DUP_TOP:0@0 ROT_N:3@2"


@pytest.mark.parametrize("name", ["MATCH_KEYS", "MATCH_CLASS"])
def test_the_parts_that_a_pattern_asks_for(name: str) -> None:
    asked = (python310.TELLING[name], 2), ("POP_JUMP_IF_FALSE", 9)
    assert ops(*asked) == f"{name}:2@0 COPY:1@2 POP_JUMP_IF_NONE:9@2"
    assert "POP_JUMP_IF_FALSE" in ops(*asked, targets={2})
    assert ops(("LOAD_FAST", 0), asked[1]) == "LOAD_FAST:0@0 POP_JUMP_IF_FALSE:9@2"


def test_an_exit_function_gets_three_times_nothing() -> None:
    none = ("LOAD_CONST", 1, None)
    call = (("DUP_TOP", 0), ("DUP_TOP", 0), ("CALL", 2))
    assert ops(none, *call) == "LOAD_CONST:1@0 LOAD_CONST:1@2 LOAD_CONST:1@4 CALL:2@6"
    assert "DUP_TOP" in ops(none, *call, targets={4})
    assert "DUP_TOP" in ops(("LOAD_CONST", 1, 0), *call)
    assert "DUP_TOP" in ops(none, *call[:2], ("CALL", 3))


@pytest.mark.parametrize(
    ("name", "arg", "pieces"),
    [
        ("CALL_FUNCTION", 2, (("CALL", 1),)),
        ("CALL_FUNCTION", 0, (("PUSH_NULL", 0), ("SWAP", 2), ("CALL", 0))),
        ("CALL_FUNCTION_KW", 2, (("CALL_KW", 1),)),
        ("LOAD_GLOBAL", 3, (("LOAD_GLOBAL", 6),)),
        ("SETUP_WITH", 3, (("BEFORE_WITH", 0), ("SETUP_WITH", 3))),
        ("ROT_FOUR", 0, (("ROT_N", 4),)),
    ],
)
def test_pieces(name: str, arg: int, pieces: object) -> None:
    assert python310.PIECES[name](arg) == pieces


def test_operators() -> None:
    def symbol(name: str) -> str:
        ((op, arg),) = python310.PIECES[name](0)
        assert op == "BINARY_OP"
        return python310.BINARY[arg]

    assert symbol("BINARY_ADD") == "+"
    assert symbol("BINARY_TRUE_DIVIDE") == "/"
    assert symbol("INPLACE_POWER") == "**="
    assert symbol("INPLACE_XOR") == "^="


@pytest.mark.parametrize(
    ("name", "arg", "target"),
    [
        ("JUMP_ABSOLUTE", 7, 14),
        ("JUMP_FORWARD", 7, 114),
        ("FOR_ITER", 7, 114),
        ("JUMP_FORWARD", (1 << 32) - 7, 86),
        ("LOAD_FAST", 7, None),
    ],
)
def test_targets(name: str, arg: int, target: int | None) -> None:
    absolute = replace(python310.TABLE, absolute=frozenset({"JUMP_ABSOLUTE"}))
    assert instructions._target(name, arg, 100, absolute) == target
