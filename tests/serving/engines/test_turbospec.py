"""Whatever a policy says, greedy answers of vLLM are those of no speculation, token by token.

Each engine goes through one script (``turbospec_job``) under a policy that decides by dice.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from tests.serving.engines import server, tiny_dense, tiny_drafters
from tests.serving.engines.turbospec_job import REQUESTS, Job, script

pytestmark = pytest.mark.timeout(400)
_REPEATING = "tests.serving.engines.repeating_drafter.Repeating"
_ON = {
    "CROSSDOCK_TURBOSPEC": "1",
    "CROSSDOCK_TURBOSPEC_POLICY": "tests.serving.engines.wild_policy:make",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of the small models."""
    folder = tmp_path_factory.mktemp("models")
    tiny_dense.write(folder)
    tiny_drafters.write(folder)
    return folder


@pytest.fixture(scope="module")
def plain(models: pathlib.Path) -> dict[str, Any]:
    """What vLLM answers without speculation, though crossdock was asked for."""
    report, log = run(models, "plain", None, _ON)
    assert report["scheduler"] == "TurboSpecScheduler"
    assert report["preemptions"] > 0
    assert len(report["answers"]) == REQUESTS
    assert log.count("crossdock: ") == 1
    assert "without --speculative-config" in log
    return report


def run(
    models: pathlib.Path,
    name: str,
    speculative: dict[str, Any] | None,
    variables: dict[str, str],
    target: str = "target",
    **more: Any,
) -> tuple[dict[str, Any], str]:
    """The report of a job, and its log."""
    out = models / f"{name}.json"
    job = Job(str(models / target), str(out), speculative, **more)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.serving.engines.turbospec_job", msgspec.json.encode(job)],
        env=server.environment(VLLM_ENABLE_V1_MULTIPROCESSING="0", **variables),
        cwd=server.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:]
    report: dict[str, Any] = json.loads(out.read_text())
    return report, ran.stdout


def expect_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """All answers are those of no speculation."""
    answers = expected["answers"]
    assert found["answers"].keys() == answers.keys()
    assert [name for name in answers if found["answers"][name] != answers[name]] == []


def expect_controlled(report: dict[str, Any], log: str) -> None:
    """The policy had its way in all steps, and was told of them."""
    assert "crossdock: " not in log
    assert report["scheduler"] == "TurboSpecScheduler"
    assert report["preemptions"] > 0
    seen = report["policy"]
    assert sorted(map(int, seen["plans"])) == seen["lengths"] == [0, 1, 2, 3, 4, 5]
    assert seen["steps"] > 100
    assert 0 < seen["accepted"] < seen["drafts"]
    assert 0 < seen["seconds"][0] <= seen["seconds"][1] < 60
    assert seen["kept"] <= 2, "a request that has ended is forgotten in the next step"


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("ngram", {"prompt_lookup_max": 3, "prompt_lookup_min": 1}),
        ("suffix", {"suffix_decoding_max_tree_depth": 8, "suffix_decoding_min_token_prob": 0.0}),
        ("draft_model", {"model": "draft"}),
        ("medusa", {"model": "medusa"}),
        ("eagle", {"model": "eagle"}),
        ("eagle3", {"model": "eagle3"}),
        ("custom_class", {"model": _REPEATING}),
    ],
)
def test_answers_are_those_of_no_speculation(
    models: pathlib.Path, plain: dict[str, Any], method: str, options: dict[str, Any]
) -> None:
    speculative = {"method": method, "num_speculative_tokens": 5, **options}
    if "model" in options and method != "custom_class":
        speculative["model"] = str(models / options["model"])
    report, log = run(models, method, speculative, _ON)
    expect_equal(report, plain)
    expect_controlled(report, log)


def test_a_model_that_predicts_several_tokens(models: pathlib.Path) -> None:
    own, _ = run(models, "mimo-plain", None, {}, target="mimo")
    speculative = {"method": "mtp", "num_speculative_tokens": 5}
    report, log = run(models, "mtp", speculative, _ON, target="mimo")
    expect_equal(report, own)
    expect_controlled(report, log)


def test_nothing_but_drafts_counts_as_rejected(models: pathlib.Path, plain: dict[str, Any]) -> None:
    """A draft model that is the target is always right, if fillers are left out."""
    twin = {"method": "draft_model", "model": str(models / "target"), "num_speculative_tokens": 5}
    report, _ = run(models, "twin", twin, _ON, grammars=False)
    free = [str(number) for number, one in enumerate(script(True)) if one.regex is None]
    assert [name for name in free if report["answers"][name] != plain["answers"][name]] == []
    assert report["preemptions"] > 0
    assert report["policy"]["drafts"] > 500
    assert report["policy"]["rejections"] == 0


def test_a_policy_that_fails_is_one_warning(models: pathlib.Path, plain: dict[str, Any]) -> None:
    drafter = {"method": "custom_class", "model": _REPEATING, "num_speculative_tokens": 3}
    report, log = run(models, "failing", drafter, {**_ON, "WILD_FAILS": "1"})
    expect_equal(report, plain)
    assert log.count("crossdock: ") == 1
    assert "goes on alone: RuntimeError: out of luck" in log
