"""The control of vLLM's speculation as far as no vLLM is needed."""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from crossdock.serving.contract import broken_hooks
from crossdock.serving.turbospec import Controller, Fixed, Settings, totals
from crossdock.serving.turbospec.driver import Driver
from crossdock.serving.vllm import control, lockstep, metrics, seen
from crossdock.serving.vllm.turbospec_contract import CONTRACT

_SOURCES = Path(__file__).parents[2] / "build" / "engines" / "vllm"


def config(
    method: str | None = "draft_model",
    *,
    parallel: bool = False,
    modules: bool = False,
    **more: int,
) -> Any:
    speculative = SimpleNamespace(
        method=method,
        model=None,
        parallel_drafting=parallel,
        use_multi_module_mtp=lambda: modules,
    )
    one = dict.fromkeys(("pipeline", "tensor", "data"), 1)
    ranks = {f"{kind}_parallel_size": size for kind, size in one.items()}
    return SimpleNamespace(
        model_config=SimpleNamespace(model="m", dtype="torch.float32", quantization=None),
        speculative_config=speculative if method else None,
        parallel_config=SimpleNamespace(**{**ranks, "data_parallel_index": 0, **more}),
    )


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("CROSSDOCK_TURBOSPEC")]:
        monkeypatch.delenv(name)
    return monkeypatch


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_source_has_what_the_plugin_rests_on() -> None:
    assert _SOURCES.is_dir(), "run `make build/engines`"
    assert broken_hooks(_SOURCES, CONTRACT.hooks) == []


def test_schedulers_are_loaded_only_when_they_are_asked_for() -> None:
    code = (
        "import sys, crossdock.serving.vllm as ours; assert 'vllm' not in sys.modules\n"
        "try: ours.Other\nexcept AttributeError as error: print(error)\n"
        "try: ours.TurboSpecScheduler\nexcept ImportError as error: print(error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "no attribute 'Other'" in ran.stdout
    assert "No module named 'vllm'" in ran.stdout
    assert ran.stderr.count("speculates as it would without crossdock") == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (config(None), "without --speculative-config"),
        (config("lookahead"), "drafts by lookahead are not known"),
        (config(parallel=True), "all tokens at once"),
        (config("mtp", modules=True), "each module of an MTP"),
        (config(pipeline_parallel_size=2), "pipeline parallelism"),
        (SimpleNamespace(), "AttributeError"),
    ],
)
def test_what_cannot_be_controlled_is_one_warning(
    clean: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, given: Any, expected: str
) -> None:
    with caplog.at_level(logging.WARNING):
        assert control.driver_of(given, 4) is None
    (text,) = said(caplog)
    assert expected in text
    assert "vLLM speculates as it would without crossdock" in text


@pytest.mark.parametrize("method", ["ngram", "suffix", "custom_class", "eagle3", "mtp", "medusa"])
def test_methods_that_are_controlled(clean: pytest.MonkeyPatch, method: str) -> None:
    driver = control.driver_of(config(method), 4)
    assert driver is not None
    assert isinstance(driver.policy, Controller)
    assert driver.observers == []


def test_the_controller_can_be_set(clean: pytest.MonkeyPatch) -> None:
    clean.setenv(control.SETTINGS, '{"time_per_token_s": 0.03, "explore": 0}')
    policy = control.policy_of(config(), 4)
    assert isinstance(policy, Controller)
    assert policy.settings == Settings(time_per_token_s=0.03, explore=0.0)


@pytest.mark.parametrize("text", ["{", "[]", '{"tempo": 1}', '{"explore": 9}', '{"memory": "a"}'])
def test_bad_settings_are_one_warning(
    clean: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    clean.setenv(control.SETTINGS, text)
    assert control.driver_of(config(), 4) is None
    (line,) = said(caplog)
    assert "ArgumentError" in line
    assert "vLLM speculates as it would without crossdock" in line


def test_a_policy_of_ones_own(clean: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clean.setenv(control.POLICY, "crossdock.serving.turbospec:Fixed")
    driver = control.driver_of(config(), 4)
    assert driver is not None
    assert isinstance(driver.policy, Fixed)
    clean.setenv(control.POLICY, "crossdock.serving.turbospec:Nothing")
    with caplog.at_level(logging.WARNING):
        assert control.driver_of(config(), 4) is None
    assert "Nothing" in said(caplog)[0]


def test_without_the_native_core_no_policy_is_asked(
    clean: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clean.setenv(control.POLICY, "crossdock.serving.turbospec:Fixed")
    clean.setitem(sys.modules, "crossdock.serving._native", None)
    with caplog.at_level(logging.WARNING):
        assert control.driver_of(config(), 4) is None
    assert "CoreMissing" in said(caplog)[0]


def test_a_log_that_cannot_be_written_is_a_warning(
    clean: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    clean.setenv(control.LOG, str(tmp_path / "no" / "folder"))
    with caplog.at_level(logging.WARNING):
        driver = control.driver_of(config(), 4)
    assert driver is not None
    assert driver.observers == []
    assert "decisions are not logged" in said(caplog)[0]


@pytest.mark.parametrize(
    ("method", "ranks", "expected"),
    [
        ("draft_model", 2, True),
        ("eagle", 2, True),
        ("ngram", 2, False),
        ("medusa", 2, False),
        ("draft_model", 1, False),
    ],
)
def test_only_drafters_that_run_passes_together_must_agree(
    method: str, ranks: int, expected: bool
) -> None:
    assert lockstep.needed(config(method, data_parallel_size=ranks)) is expected


def test_ranks_that_did_not_join_draft_the_longest() -> None:
    part = lockstep.Lockstep(4)
    driver = Driver(Fixed(2), 4, lambda text: None)
    request = SimpleNamespace(
        num_computed_tokens=9,
        num_tokens=10,
        num_output_placeholders=0,
        max_tokens=50,
        num_output_tokens=2,
    )
    scheduler = SimpleNamespace(requests={"a": request}, max_num_scheduled_tokens=64, waiting=[])
    cached = SimpleNamespace(
        req_ids=[], resumed_req_ids=set(), num_computed_tokens=[], num_output_tokens=[]
    )
    output = SimpleNamespace(
        scheduled_new_reqs=[SimpleNamespace(req_id="a", num_computed_tokens=9)],
        scheduled_cached_reqs=cached,
        scheduled_spec_decode_tokens={},
        num_scheduled_tokens={"a": 1},
        total_num_scheduled_tokens=1,
        finished_req_ids=set(),
    )
    batch, work, prefill = seen.Reader(scheduler, 4, 2).scheduled(output)
    assert (list(batch.requests), batch.context, batch.limits) == (["a"], 10, None)
    assert (work.requests, work.tokens, prefill) == (1, 1, 0)
    plan = part.plan(driver, batch, driver.plan(batch))
    assert (plan.draft_length, list(plan.verify), plan.reason) == (4, [2], "agreed")
    plan = part.plan(driver, None, None)
    assert (plan.draft_length, list(plan.verify)) == (4, [])
    part.idle()


def test_metrics_of_all_engines_are_shown(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(metrics._Collector(tmp_path))
    assert b"_turbospec_tokens_total{" not in generate_latest(registry)
    samples = {name: {"": 1.0} for name, one in totals.METRICS.items() if one.label is None}
    samples |= {"decisions": {"hold": 3.0}, "judged": {"1": 5.0}, "accepted": {"1": 4.0}}
    for rank in (0, 1):
        totals.write(tmp_path, rank, samples)
    text = generate_latest(registry).decode()
    for rank in (0, 1):
        assert f'crossdock_turbospec_draft_length{{engine="{rank}"}} 1.0' in text
        assert f'crossdock_turbospec_tokens_total{{engine="{rank}"}} 1.0' in text
        assert f'decisions_total{{engine="{rank}",reason="hold"}} 3.0' in text
        assert f'accepted_total{{engine="{rank}",position="1"}} 4.0' in text


def test_several_api_servers_are_told_by_the_client_of_prometheus(tmp_path: Path) -> None:
    code = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from crossdock.serving.vllm import metrics
export = metrics.exporter(1)
for value in (2.0, 5.0):
    export({"draft_length": {"": value}, "decisions": {"hold": value}})
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert 'crossdock_turbospec_draft_length{engine="1"} 5.0' in ran.stdout
    assert 'crossdock_turbospec_decisions_total{engine="1",reason="hold"} 5.0' in ran.stdout


def test_nobody_is_told_where_nobody_asks(clean: pytest.MonkeyPatch) -> None:
    clean.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    assert metrics.exporter(0) is None


def test_another_version_is_refused() -> None:
    other = dataclasses.replace(CONTRACT, oldest=(0, 99), beyond=(1, 0))
    assert "0.99" in (other.refusal() or "")
