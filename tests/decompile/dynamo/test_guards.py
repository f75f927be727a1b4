"""The printed tree of guards, as a function that says what Dynamo says."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.decompile.dynamo.dumps import broken, eager, index_of, of_kind

from crossdock.decompile.dynamo import prepare_debug
from crossdock.decompile.dynamo.guards import as_function, read
from crossdock.decompile.dynamo.index import Guard

TREE = """
TREE_GUARD_MANAGER:
+- RootGuardManager
| +- LAMBDA_GUARD: hooks ids == None  # _dynamo/output_graph.py:1135 in init
| +- GLOBAL_STATE: ___check_global_state() against {"grad_mode":true,"name":"it's"}
| +- GuardManager: source=L['n'], accessed_by=FrameLocalsGuardAccessor(key='n'), type=<class 'int'>
| | +- TYPE_MATCH: ___check_type_id(L['n'], 94), type=<class 'int'>  # y = n  # a.py:2 in f
| | +- EQUALS_MATCH: L['n'] == 'a # b'  # y = n  # a.py:2 in f
| | +- EQUALS_MATCH: L['n'] == 'a # b'  # y = n  # a.py:2 in f
| +- KeyManager: GuardManager: source=list(dict.keys(L['d']))[0]
| | +- TENSOR_MATCH: check_tensor(L['x'], Tensor, DispatchKeySet(CPU, AutogradCPU), torch.float32,\
 device=None, requires_grad=False, size=[None, 3], stride=[3, 1])  # z
Guard latency = 1.00 us
"""


def holds(guards: list[Guard], **locals_: Any) -> bool:
    names: dict[str, Any] = {}
    exec(as_function(guards, "Guards"), names)  # noqa: S102 - it is what is tested
    return bool(names["guard"](locals_, {}))


def test_leaves_are_read_in_order() -> None:
    found = read(TREE)
    assert [guard.kind for guard in found] == [
        "LAMBDA_GUARD",
        "GLOBAL_STATE",
        "TYPE_MATCH",
        "EQUALS_MATCH",
        "TENSOR_MATCH",
    ]
    assert found[2].code == "___check_type_id(L['n'], 94)"
    assert found[3] == Guard(
        kind="EQUALS_MATCH", code="L['n'] == 'a # b'", source="y = n # a.py:2 in f"
    )
    assert "'CPU, AutogradCPU', torch.float32" in found[4].code
    ast.literal_eval(found[1].code.removeprefix("check_global_state(").removesuffix(")"))


def test_the_function_decides() -> None:
    guards = [Guard(kind="A", code="L['n'] == 1"), Guard(kind="B", code="len(L['xs']) > 0")]
    assert holds(guards, n=1, xs=[1])
    assert not holds(guards, n=2, xs=[1])
    assert not holds(guards, n=1, xs=[])
    assert holds([])


def test_what_is_no_python_is_said_and_not_checked() -> None:
    guards = [
        Guard(kind="LAMBDA_GUARD", code="hooks ids == None"),
        Guard(kind="OTHER", code="___known_to_nobody(L['n'])"),
        Guard(kind="A", code="L['n'] == 1", source="y = n"),
    ]
    text = as_function(guards, 'of "f"')
    assert "# LAMBDA_GUARD: hooks ids == None" in text
    assert "# OTHER: ___known_to_nobody" in text
    assert "(L['n'] == 1)  # y = n" in text
    assert holds(guards, n=1)


def test_a_tensor_is_compared_in_all_it_was_traced_with() -> None:
    def guard(**changed: Any) -> Guard:
        said = {"device": None, "requires_grad": False, "size": [None, 3], "stride": [3, 1]}
        said |= changed
        keys = "'CPU, BackendSelect, ADInplaceOrView, AutogradCPU'"
        rest = ", ".join(f"{name}={value!r}" for name, value in said.items())
        code = f"check_tensor(L['x'], 'Tensor', {keys}, torch.float32, {rest})"
        return Guard(kind="TENSOR_MATCH", code=code)

    x = torch.ones(5, 3)
    assert holds([guard()], x=x)
    assert not holds([guard()], x=x.double())
    assert not holds([guard()], x=x.requires_grad_(True))
    assert not holds([guard()], x=torch.ones(3, 5).T)
    assert not holds([guard()], x=torch.ones(5, 4))
    assert not holds([guard()], x=torch.nn.Parameter(torch.ones(5, 3), requires_grad=False))
    assert not holds([guard()], x=None)
    assert not holds([guard(device=0)], x=torch.ones(5, 3))


@pytest.mark.usefixtures("fresh")
def test_dumped_guards_say_what_dynamo_says(tmp_path: Path) -> None:
    with prepare_debug(tmp_path):
        compiled = eager(broken, dynamic=False)
        compiled(torch.ones(3), 1)
        compiled(torch.ones(4), 2)
    guards: dict[str | None, Any] = {}
    for artifact in of_kind(index_of(tmp_path), "guards"):
        names: dict[str, Any] = {}
        exec((tmp_path / artifact.file).read_text(), names)  # noqa: S102 - it is what is tested
        guards[artifact.compile_id] = names["guard"]
    for size, n, first, second in ((3, 1, True, False), (4, 2, False, True), (3, 2, False, False)):
        here = {"x": torch.ones(size), "n": n}
        assert guards["0/0"](here, broken.__globals__) is first
        assert guards["0/1"](here, broken.__globals__) is second
    with torch.no_grad():
        assert not guards["0/0"]({"x": torch.ones(3), "n": 1}, broken.__globals__)


@given(st.text())
def test_any_tree_gives_a_file_that_parses(text: str) -> None:
    lines = [f"| +- LAMBDA_GUARD: {line}" for line in text.splitlines()]
    ast.parse(as_function(read("\n".join(lines)), text))
