"""The dispatcher for SGLang keeps the contract of SGLang's own ``BaseDispatcher``.

The contract is the installed source of SGLang. Its packages import what needs a GPU, so they are
passed over: the modules with the contract are imported from their files, and from the one that
cannot be, the classes that the plug-in uses are taken out.
"""

from __future__ import annotations

import ast
import importlib
import pathlib
import sys
import types
from typing import Any

import pytest
import torch
from tests.harness import RankContext, run_ranks

from crossdock.serving.sglang.contract import CONTRACT

SOURCE = pathlib.Path(sys.prefix) / "sglang"
PACKAGES = (
    "sglang",
    "sglang.srt",
    "sglang.srt.plugins",
    "sglang.srt.layers",
    "sglang.srt.layers.moe",
    "sglang.srt.layers.moe.fused_moe_triton",
    "sglang.srt.layers.moe.token_dispatcher",
)
_LAYER = "sglang.srt.layers.moe.fused_moe_triton.layer"
_DEEPEP = "sglang.srt.layers.moe.token_dispatcher.deepep"
_DEEP_GEMM = "sglang.srt.layers.deep_gemm_wrapper"
EXPERTS = 4


def test_installed_version_is_the_one_that_was_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SOURCE))
    assert CONTRACT.installed_version() == "0.5.23"
    assert CONTRACT.refusal() is None


def pass_over_packages(deep_gemm: bool = False) -> None:
    """SGLang's modules can be imported from their files, their packages do nothing."""
    for name in PACKAGES:
        package = types.ModuleType(name)
        package.__path__ = [str(SOURCE / name.replace(".", "/"))]
        sys.modules[name] = package
    base = importlib.import_module("sglang.srt.layers.moe.token_dispatcher.base")
    deepep = types.ModuleType(_DEEPEP)
    deepep.__dict__.update(vars(base))
    exec(_classes("DeepEPNormalDispatchOutput", "DeepEPNormalCombineInput"), vars(deepep))  # noqa: S102
    sys.modules[_DEEPEP] = deepep
    sys.modules[_DEEP_GEMM] = types.ModuleType(_DEEP_GEMM)
    sys.modules[_DEEP_GEMM].__dict__["ENABLE_JIT_DEEPGEMM"] = deep_gemm


def _classes(*names: str) -> types.CodeType:
    file = SOURCE / f"{_DEEPEP.replace('.', '/')}.py"
    found: list[ast.stmt] = [
        node
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name in names
    ]
    assert len(found) == len(names)
    typing = ast.parse("from __future__ import annotations\nfrom typing import List, NamedTuple")
    return compile(ast.Module([*typing.body, *found], []), str(file), "exec")


def _expert(number: int, rows: torch.Tensor) -> torch.Tensor:
    return rows * (number + 1)


def _tokens(rank: int) -> tuple[torch.Tensor, types.SimpleNamespace]:
    generator = torch.Generator().manual_seed(rank)
    ids = torch.rand(9, EXPERTS, generator=generator).argsort(1)[:, :2].to(torch.int32)
    return torch.randn(9, 16, generator=generator), types.SimpleNamespace(
        topk_ids=ids, topk_weights=torch.rand(9, 2, generator=generator)
    )


def layer(rank: RankContext, deep_gemm: bool) -> None:
    """A layer that calls the dispatcher as SGLang's layers do, hooks included."""
    pass_over_packages(deep_gemm)
    base = sys.modules["sglang.srt.layers.moe.token_dispatcher.base"]
    deepep = sys.modules[_DEEPEP]
    from crossdock.serving.sglang.dispatcher import dispatcher_of

    exchange = rank.exchange()
    dispatcher: Any = dispatcher_of(exchange, EXPERTS)
    assert dispatcher_of(exchange, EXPERTS)._experts is dispatcher._experts
    assert isinstance(dispatcher, base.BaseDispatcher)
    dispatcher.set_quant_config({})
    seen: list[str] = []
    dispatcher.register_pre_dispatch_hook(lambda *given: seen.append("pre dispatch"))
    dispatcher.register_post_dispatch_hook(lambda *given: seen.append("post dispatch"))
    dispatcher.register_pre_combine_hook(lambda *given: seen.append("pre combine"))
    dispatcher.register_post_combine_hook(lambda *given: seen.append("post combine"))
    hidden, topk = _tokens(rank.rank)
    came = dispatcher.dispatch(hidden_states=hidden, topk_output=topk)
    assert isinstance(came, base.DispatchOutput)
    assert came.format.is_deepep_normal()
    local = EXPERTS // rank.size
    out = torch.zeros_like(came.hidden_states)
    for number in range(local):
        rows, slots = (came.topk_ids == number).nonzero(as_tuple=True)
        # As SGLang's own dispatcher asks DeepEP to count: in whole blocks of DeepGEMM.
        blocks = -(-len(rows) // 128) * 128
        assert came.num_recv_tokens_per_expert[number] == (blocks if deep_gemm else len(rows))
        weighted = came.topk_weights[rows, slots, None] * came.hidden_states[rows]
        out.index_add_(0, rows, _expert(rank.rank * local + number, weighted))
    given = deepep.DeepEPNormalCombineInput(out, came.topk_ids, came.topk_weights)
    assert isinstance(given, base.CombineInput)
    combined = dispatcher.combine(combine_input=given)
    factors = (topk.topk_weights * (topk.topk_ids + 1)).sum(1, keepdim=True)
    torch.testing.assert_close(combined, hidden * factors)
    assert seen == ["pre dispatch", "post dispatch", "pre combine", "post combine"]
    dispatcher._experts.destroy()


@pytest.mark.parametrize("deep_gemm", [False, True])
def test_dispatcher_keeps_the_contract(deep_gemm: bool) -> None:
    run_ranks(layer, 2, deep_gemm)


def test_deep_gemm_takes_experts_from_multiples_of_its_block() -> None:
    """What is said of it above, in the source of SGLang's own dispatcher and of its runner."""
    own = (SOURCE / f"{_DEEPEP.replace('.', '/')}.py").read_text()
    assert "expert_alignment=128 if deep_gemm_wrapper.ENABLE_JIT_DEEPGEMM else 1," in own
    runner = (SOURCE / "sglang/kernels/ops/moe/ep_moe_kernels.py").read_text()
    assert "assert m_indices.shape[0] % BLOCK_E == 0" in runner


class Unquantized:
    """Of experts that take rows as they are."""


class Fp8:
    """Of experts that do not."""


def chosen(rank: RankContext) -> list[str]:
    """What a hooked SGLang takes for each case below, with its own registry of hooks."""
    pass_over_packages()
    own = types.ModuleType(_LAYER)
    group = rank.exchange()
    own.__dict__.update(
        create_moe_dispatcher=lambda config, method: "own",
        _get_deepep_comm_group=lambda backend: group,
        UnquantizedFusedMoEMethod=Unquantized,
    )
    sys.modules[_LAYER] = own
    moe = sys.modules["sglang.srt.layers.moe"].__dict__
    sys.path.insert(0, str(SOURCE))
    sys.modules["sglang"].__spec__ = importlib.machinery.PathFinder.find_spec("sglang")
    from crossdock.serving.sglang import plugin

    plugin.general()
    importlib.import_module("sglang.srt.plugins.hook_registry").HookRegistry.apply_hooks()
    config = types.SimpleNamespace(num_experts=EXPERTS)
    names = []
    for deepep, two_batches, method in CASES:
        moe["get_moe_a2a_backend"] = lambda: types.SimpleNamespace(is_deepep=lambda: deepep)  # noqa: B023
        moe["is_tbo_enabled"] = lambda: two_batches  # noqa: B023
        found = own.__dict__["create_moe_dispatcher"](config, method())
        names.append(found if isinstance(found, str) else type(found).__name__)
    return names


CASES: list[tuple[bool, bool, type]] = [
    (False, False, Unquantized),
    (True, False, Fp8),
    (True, True, Unquantized),
    (True, False, Unquantized),
]


@pytest.mark.parametrize(("asked", "last"), [("", "own"), ("1", "CrossdockDispatcher")])
def test_hook_takes_effect_for_what_is_served_when_asked(asked: str, last: str) -> None:
    (found,) = run_ranks(chosen, 1, environment={"CROSSDOCK_SGLANG_EP": asked})
    assert found == ["own", "own", "own", last]
