"""vLLM's own ``bench serve`` with a step of the rate: metrics scraped while it runs, and a plot."""

from __future__ import annotations

import json
import pathlib
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.serving.engines import server, tiny_dense
from tests.serving.engines.test_turbospec_server import greedy

from crossdock.serving.turbospec import decisions

pytestmark = pytest.mark.timeout(900)
_FLAGS = (
    "--served-model-name tiny --host 127.0.0.1 --enforce-eager --dtype float32 "
    "--max-model-len 256 --max-num-seqs 16 --max-num-batched-tokens 256"
)
_RATES = ((0.5, 4), (64.0, 160))
"""(requests a second, requests), one after the other; the second more than any machine serves."""
_TOKENS = 40
_DRAFTS = 4
_EVERY_S = 0.5
_CROSSDOCK = "import sys; from crossdock.deploy.cli import main; sys.exit(main())"
_WANTED = ("crossdock_turbospec_draft_length", "vllm:num_requests_running")


def load(up: server.Server, model: pathlib.Path) -> list[dict[str, float]]:
    """Let vLLM's bench send requests at each rate; what it says of them."""
    program = pathlib.Path(__file__).with_name("bench_serve.py")
    command = [sys.executable, str(program)]
    files = [up.log.parent / f"rate-{rate}.json" for rate, _ in _RATES]
    for file, (rate, requests) in zip(files, _RATES, strict=True):
        arguments = (
            f"-- --base-url http://127.0.0.1:{up.port} --model tiny --tokenizer {model} "
            f"--dataset-name random --random-input-len 16 --random-output-len {_TOKENS} "
            f"--request-rate {rate} --num-prompts {requests} --ignore-eos --temperature 0 "
            f"--disable-tqdm --save-result --result-dir {file.parent} --result-filename {file.name}"
        )
        command += arguments.split()
    ran = subprocess.run(command, env=server.environment(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    return [json.loads(file.read_text()) for file in files]


@contextmanager
def scraped(up: server.Server) -> Iterator[list[dict[str, float]]]:
    """The metrics, as Prometheus would fetch them, until the end of the block."""
    seen: list[dict[str, float]] = []
    done = threading.Event()

    def scrape() -> None:
        while not done.wait(_EVERY_S):
            text = up.metrics()
            found = (re.search(rf"^{name}\S* (\S+)$", text, re.MULTILINE) for name in _WANTED)
            seen.append(
                {name: float(one[1]) for name, one in zip(_WANTED, found, strict=True) if one}
            )

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def test_a_step_of_the_rate_is_seen_in_metrics_and_plot(tmp_path: pathlib.Path) -> None:
    tiny_dense.write(tmp_path)
    target, log = tmp_path / "target", tmp_path / "decisions.jsonl"
    drafter = {
        "method": "draft_model",
        "model": str(tmp_path / "draft"),
        "num_speculative_tokens": _DRAFTS,
    }
    flags = [*_FLAGS.split(), "--speculative-config", json.dumps(drafter)]
    variables = {"CROSSDOCK_TURBOSPEC": "1", "CROSSDOCK_TURBOSPEC_LOG": str(log)}
    dice = random.Random(3)
    prompts = [[dice.randrange(256) for _ in range(12)] for _ in range(3)]
    with server.serving(target, tmp_path, flags, variables) as up, scraped(up) as seen:
        told = load(up, target)
        answers = [up.ask(prompt, _TOKENS) for prompt in prompts]
    assert answers == greedy(target, prompts)
    for one, (_, requests) in zip(told, _RATES, strict=True):
        assert one["completed"] == requests
        assert one["total_output_tokens"] == requests * _TOKENS
    lengths = [one[_WANTED[0]] for one in seen if _WANTED[0] in one]
    assert len(lengths) >= 10
    assert all(0 <= length <= _DRAFTS for length in lengths)

    # The log, in the order of time: few requests at a time, then many.
    lines = decisions.read(log)
    most = [line.requests for line in lines]
    first = next(place for place, requests in enumerate(most) if requests > 2)
    assert sum(line.tokens for line in lines[:first]) >= _RATES[0][1] * _TOKENS / 2
    assert max(most) > 4
    assert max(one[_WANTED[1]] for one in seen) > 2
    picture = tmp_path / "decisions.png"
    explained = subprocess.run(
        [sys.executable, "-c", _CROSSDOCK, "serve", "explain", str(log), "--plot", str(picture)],
        capture_output=True,
        text=True,
    )
    assert explained.returncode == 0, explained.stderr
    assert picture.stat().st_size > 1000
    print(explained.stdout, told, seen)
