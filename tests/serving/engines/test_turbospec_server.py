"""``vllm serve`` under load with the controller: answers, metrics while it runs, the log."""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import random
import re
import time

import pytest
from tests.serving.engines import server, tiny_dense

pytestmark = pytest.mark.timeout(400)
_FLAGS = (
    "--served-model-name tiny --host 127.0.0.1 --skip-tokenizer-init --enforce-eager "
    "--dtype float32 --max-model-len 256 --max-num-seqs 16 --max-num-batched-tokens 256 "
    "--scheduler-cls crossdock.serving.vllm.TurboSpecScheduler"
)
_TOKENS = 40


def greedy(model: pathlib.Path, prompts: list[list[int]]) -> list[list[int]]:
    """What follows each prompt, by another implementation."""
    import torch
    from transformers import LlamaForCausalLM

    torch.set_num_threads(1)
    network = LlamaForCausalLM.from_pretrained(model, dtype=torch.float32)
    answers = []
    for prompt in prompts:
        tokens = torch.tensor([prompt])
        with torch.inference_mode():
            for _ in range(_TOKENS):
                following = network(tokens).logits[:, -1].argmax(-1, keepdim=True)
                tokens = torch.cat([tokens, following], dim=1)
        answers.append(tokens[0, len(prompt) :].tolist())
    return answers


def samples(text: str) -> dict[str, float]:
    """Our metrics, by name and labels."""
    found = re.findall(r"^crossdock_turbospec_(\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_serves_under_load_and_shows_what_it_decides(tmp_path: pathlib.Path) -> None:
    tiny_dense.write(tmp_path)
    target = tmp_path / "target"
    dice = random.Random(5)
    prompts = [[dice.randrange(256) for _ in range(dice.randrange(3, 40))] for _ in range(12)]
    log = tmp_path / "decisions.jsonl"
    drafter = {
        "method": "draft_model",
        "model": str(tmp_path / "draft"),
        "num_speculative_tokens": 4,
    }
    flags = [*_FLAGS.split(), "--speculative-config", json.dumps(drafter)]
    variables = {"CROSSDOCK_TURBOSPEC": "1", "CROSSDOCK_TURBOSPEC_LOG": str(log)}
    with (
        server.serving(target, tmp_path, flags, variables) as up,
        concurrent.futures.ThreadPoolExecutor(12) as users,
    ):
        running = [users.submit(up.ask, prompt, _TOKENS) for prompt in prompts * 5]
        concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
        early = samples(up.metrics())
        answers = [question.result() for question in running]
        time.sleep(0.2)
        late = samples(up.metrics())
        assert "vllm:num_requests_running" in up.metrics()
    assert answers == greedy(target, prompts) * 5
    assert "crossdock: " not in up.log.read_text()

    assert late['controlled{engine="0"}'] == 1
    assert 0 <= late['draft_length{engine="0"}'] <= 4
    assert late['tokens_total{engine="0"}'] == len(answers) * _TOKENS
    assert late['tokens_total{engine="0"}'] > early.get('tokens_total{engine="0"}', 0)
    assert late['measured_goodput{engine="0"}'] > 0
    assert late['predicted_goodput{engine="0"}'] > 0
    assert 0 <= late['regret{engine="0"}'] < 1
    judged = [late[f'judged_total{{engine="0",position="{place}"}}'] for place in range(1, 5)]
    accepted = [late[f'accepted_total{{engine="0",position="{place}"}}'] for place in range(1, 5)]
    assert judged[0] > 0
    assert judged == sorted(judged, reverse=True)
    assert all(0 <= yes <= all_ for yes, all_ in zip(accepted, judged, strict=True))
    decisions = sum(value for name, value in late.items() if name.startswith("decisions_total"))

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sum(line["steps"] for line in lines if line["reason"]) == decisions
    assert sum(line["tokens"] for line in lines) == late['tokens_total{engine="0"}']
    print(late)
