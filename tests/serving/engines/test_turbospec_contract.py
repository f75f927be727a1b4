"""How vLLM comes to our schedulers, and how it keeps its own."""

from __future__ import annotations

import ast
import pathlib
import re

from tests.serving.engines.test_vllm_contract import printed

from crossdock.serving.vllm.control import MODEL_FREE, MODELS, WHOLE
from crossdock.serving.vllm.turbospec_contract import CONTRACT

_CHOSEN = """
from vllm.plugins import load_general_plugins
from vllm.config.scheduler import SchedulerConfig
load_general_plugins()
for more in ({"async_scheduling": False}, {"async_scheduling": True}, {"scheduler_cls": OTHER}):
    made = SchedulerConfig.default_factory(**more)
    print(made.get_scheduler_cls().__module__, made.get_scheduler_cls().__name__)
""".replace("OTHER", '"vllm.v1.core.sched.async_scheduler.AsyncScheduler"')
_OLD = """
import dataclasses
from crossdock.serving.vllm import turbospec
turbospec.CONTRACT = dataclasses.replace(turbospec.CONTRACT, oldest=(0, 99), beyond=(1, 0))
import crossdock.serving.vllm
print(crossdock.serving.vllm.TurboSpecScheduler.__module__)
print(crossdock.serving.vllm.TurboSpecAsyncScheduler.__name__)
"""
_OWN = [
    "vllm.v1.core.sched.scheduler Scheduler",
    "vllm.v1.core.sched.async_scheduler AsyncScheduler",
    "vllm.v1.core.sched.async_scheduler AsyncScheduler",
]
_OURS = [
    "crossdock.serving.vllm.scheduler TurboSpecScheduler",
    "crossdock.serving.vllm.scheduler TurboSpecAsyncScheduler",
]


def classes(lines: list[str]) -> list[str]:
    """Modules and names of classes that were printed."""
    return [line for line in lines if re.fullmatch(r"\S+\.\w*scheduler \w+", line)]


def test_installed_version_has_all_hooks() -> None:
    assert CONTRACT.refusal() is None


def test_schedulers_are_vllms_own_unless_asked() -> None:
    assert classes(printed(_CHOSEN)) == _OWN


def test_schedulers_are_ours_when_asked_but_not_over_the_users() -> None:
    lines = printed(_CHOSEN, CROSSDOCK_TURBOSPEC="1")
    assert classes(lines) == [*_OURS, _OWN[2]]
    assert any("has no effect: the scheduler is AsyncScheduler" in line for line in lines)


def test_an_unknown_version_keeps_its_schedulers_with_one_warning() -> None:
    lines = printed(_OLD + _CHOSEN, CROSSDOCK_TURBOSPEC="1")
    assert classes(lines) == _OWN
    assert "vllm.v1.core.sched.scheduler" in lines
    assert "AsyncScheduler" in lines
    assert sum("speculates as it would without crossdock" in line for line in lines) == 1


def insists(source: str) -> bool:
    """Whether a drafter's source asserts that it is asked for as many drafts as it was made for."""
    return any(
        isinstance(node, ast.Assert)
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "num_speculative_tokens"
        and isinstance(node.test.ops[0], ast.Eq)
        for node in ast.walk(ast.parse(source))
    )


def test_drafters_that_insist_on_whole_drafts_are_known() -> None:
    import vllm

    folder = pathlib.Path(vllm.__file__).parent / "v1" / "spec_decode"
    found = {file.stem for file in folder.glob("*.py") if insists(file.read_text())}
    files = {"ngram_gpu": "ngram_proposer_gpu", "suffix": "suffix_decoding", "medusa": "medusa"}
    assert set(WHOLE) <= {*MODEL_FREE, *MODELS}
    assert {files[method] for method in WHOLE} == found - {"extract_hidden_states"}
