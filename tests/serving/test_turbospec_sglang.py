"""SGLang's adaptive speculation under our policy: its own modules, a worker that only counts."""

from __future__ import annotations

import importlib.util
import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossdock.serving.contract import broken_hooks
from crossdock.serving.sglang import speculation
from crossdock.serving.sglang.speculation_contract import CONTRACT
from crossdock.serving.turbospec import Fixed

SOURCE = Path(__file__).parents[2] / "build" / "engines" / "sglang"
# What the modules below import and do not need here.
_STUBS = {
    "sglang": (),
    "sglang.srt": (),
    "sglang.srt.plugins": (),
    "sglang.srt.speculative": (),
    "sglang.srt.arg_groups": (),
    "sglang.srt.arg_groups.overrides": ("resolved_view", "resolving_view"),
    "sglang.srt.runtime_context": ("attn_dp_enabled_of",),
    "sglang.srt.speculative.spec_info": ("SpeculativeAlgorithm",),
    "sglang.srt.utils": ("log_info_on_rank0",),
}
_MODULES = (
    "sglang.srt.plugins.hook_registry",
    "sglang.srt.speculative.adaptive_spec_params",
    "sglang.srt.speculative.adaptive_runtime_state",
)


class Worker:
    """Of SGLang's protocol for adaptive workers."""

    speculative_num_steps = 3

    def build_adaptive_runtime_state(self, **state: Any) -> Any:
        return types.SimpleNamespace(**state)

    def apply_runtime_state(self, state: Any) -> None:
        self.speculative_num_steps = state.speculative_num_steps


@pytest.fixture
def sglang(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """SGLang's modules, from its source."""
    assert SOURCE.is_dir(), "run `make build/engines`"
    monkeypatch.delenv(speculation.LOG, raising=False)
    for name, members in _STUBS.items():
        stub = types.ModuleType(name)
        stub.__path__ = []
        for member in members:
            setattr(stub, member, lambda *_, **__: None)
        monkeypatch.setitem(sys.modules, name, stub)
    loaded = {}
    for name in _MODULES:
        path = SOURCE / f"{name.removeprefix('sglang.').replace('.', '/')}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        setattr(sys.modules[parent], child, module)
        spec.loader.exec_module(module)
        loaded[child] = module
    monkeypatch.setattr(speculation, "refusal", lambda: None)
    speculation.install()
    loaded["hook_registry"].HookRegistry.apply_hooks()
    yield loaded
    loaded["hook_registry"].HookRegistry.reset()


def adaptive(sglang: dict[str, Any]) -> Any:
    """SGLang's controller with its default tiers."""
    params = sglang["adaptive_spec_params"].AdaptiveSpeculativeParams(initial_steps=3)
    controller = sglang["adaptive_runtime_state"].AdaptiveController(Worker(), params)
    controller.init_states()
    return controller


def test_source_has_what_the_plugin_rests_on() -> None:
    assert broken_hooks(SOURCE, CONTRACT.hooks) == []


def test_the_largest_prepared_number_is_taken(sglang: dict[str, Any]) -> None:
    controller = adaptive(sglang)
    for wanted, requests, expected in [(7, 1, 7), (6, 1, 5), (0, 2, 1), (4, 8, 3), (4, 40, 1)]:
        control = speculation._control_of(controller.params)
        assert control is not None
        control.driver.use(Fixed(wanted))
        controller.activate_step_by_batch(requests)
        assert controller.worker.speculative_num_steps == expected
        controller.on_verify_complete([expected] * requests, requests)


def test_steps_run_ahead_and_are_told_in_turn(
    sglang: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(speculation.LOG, str(tmp_path / "log"))
    controller = adaptive(sglang)
    for step in range(300):
        controller.activate_step_by_batch(4)
        if step > 0:
            controller.on_verify_complete([1, 0, 1, 0], 4)
    control = speculation._control_of(controller.params)
    assert control is not None
    policy: Any = control.driver.policy
    assert policy is not None
    assert 0 < policy.acceptance.chance < 0.7
    control.driver.close()
    assert (tmp_path / "log").read_text().count("\n") >= 1


def test_several_ranks_are_left_to_sglang(
    sglang: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(speculation, "_ranks", lambda: 2)
    controller = adaptive(sglang)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            controller.activate_step_by_batch(64)
            controller.on_verify_complete([0] * 64, 64)
    assert controller.worker.speculative_num_steps == 0
    (record,) = caplog.records
    assert "2 ranks run together" in record.getMessage()


def test_a_policy_that_fails_leaves_the_choice_to_sglang(
    sglang: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    controller = adaptive(sglang)
    control = speculation._control_of(controller.params)
    assert control is not None
    control.driver.use(Fixed(99))
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            controller.activate_step_by_batch(1)
            controller.on_verify_complete([3], 1)
    assert controller.worker.speculative_num_steps in (3, 5)
    assert len(caplog.records) == 1
