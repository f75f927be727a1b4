"""The profiler and the bench of policies, on a real vLLM.

What the bench runs is compared with no speculation, token by token, by itself.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest
from tests.serving.engines import server

from crossdock.bench.record import load as load_record
from crossdock.bench.turbospec import models
from crossdock.serving.turbospec.profile import load

pytestmark = pytest.mark.timeout(400)
_PROGRAM = "import sys; from crossdock.deploy.cli import main; sys.exit(main())"
_SPECULATIVE = {"method": "ngram", "prompt_lookup_max": 3, "num_speculative_tokens": 3}
_ARGUMENTS = {
    "dtype": "float32",
    "enforce_eager": True,
    "skip_tokenizer_init": True,
    "max_model_len": 192,
    "max_num_seqs": 4,
}


def crossdock(*arguments: str, status: int = 0) -> str:
    """What the command prints, errors too."""
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        env=server.environment(VLLM_LOGGING_LEVEL="ERROR", COLUMNS="200"),
        cwd=server.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == status, ran.stdout[-6000:]
    return ran.stdout


def test_a_profile_is_of_the_steps_that_were_asked_for(tmp_path: pathlib.Path) -> None:
    model = models.random_model(tmp_path, models.TINY)
    out = tmp_path / "profile.json"
    said = crossdock(
        *("serve", "profile", "--model", str(model), "--out", str(out)),
        *("--speculative-config", json.dumps(_SPECULATIVE)),
        *("--engine-args", json.dumps(_ARGUMENTS)),
        *("--batches", "1,2,4,8", "--contexts", "16,64,4096", "--repeats", "3", "--clock", "cpu"),
    )
    found = load(out)
    assert found.key.model == f"{model} float32"
    assert found.key.draft == "ngram"
    assert found.key.engine == "vllm 0.32.0"
    # ngram finds nothing in random prompts, but every step has all of its drafts.
    assert {(cell.requests, cell.draft_length, cell.tokens) for cell in found.cells} == {
        (requests, length, requests * (length + 1)) for requests in (1, 2, 4) for length in range(4)
    }
    assert all(cell.count == 3 for cell in found.cells)
    for cell in found.cells:
        assert 16 <= cell.context / cell.requests <= 192
        assert 1e-4 < cell.seconds < 5
    text = " ".join(found.left_out)
    assert "8 requests with 16 tokens each: the engine runs 4 requests at most" in text
    assert "context ends at 192 tokens" in text
    assert "relative error of the fit" in said


def test_settings_that_vllm_refuses_are_said(tmp_path: pathlib.Path) -> None:
    said = crossdock(
        *("serve", "profile", "--model", str(tmp_path / "none"), "--out", str(tmp_path / "x")),
        *("--speculative-config", json.dumps(_SPECULATIVE)),
        status=1,
    )
    assert "EngineMissing: vLLM could not be started with" in said
    assert not (tmp_path / "x").exists()


def test_policies_take_turns_and_no_token_differs(tmp_path: pathlib.Path) -> None:
    runs = []
    for name in ("first", "second"):
        json_file, page = tmp_path / f"{name}.json", tmp_path / f"{name}.md"
        said = crossdock(
            *("bench", "turbospec", "--quick", "--models", str(tmp_path), "--clock", "virtual"),
            *("--json", str(json_file), "--report", str(page)),
        )
        assert "# wrong: 0 in 60 checked series" in said
        assert "## five, virtual clock" in page.read_text()
        runs.append(load_record(json_file))
    assert runs[0].wrong == 0
    assert {series.contender for series in runs[0].series} == {
        *(f"k={length}" for length in range(9)),
        *("table", "paper", "crossdock"),
    }
    assert all(series.count > 100 for series in runs[0].series)
    # A virtual clock, the same luck, the same policies: to the last digit.
    assert runs[0].series == runs[1].series


def test_a_trained_draft_is_accepted(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "accepted.json"
    program = "tests.serving.engines.trained_job"
    ran = subprocess.run(
        [sys.executable, "-m", program, str(server.ROOT / "build/turbospec"), str(out)],
        env=server.environment(VLLM_LOGGING_LEVEL="ERROR"),
        cwd=server.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=380,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6000:]
    found = json.loads(out.read_text())
    assert found["equal"]
    assert 0.3 < found["accepted"] / found["judged"] < 0.999
