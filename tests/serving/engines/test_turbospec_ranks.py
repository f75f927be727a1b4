"""Two data-parallel ranks with policies that never agree draft the same lengths, and do not hang.

The draft model is the target itself, a mixture of experts, so each pass of the drafter needs both
ranks. Without the agreement the first requests never end.
"""

from __future__ import annotations

import concurrent.futures
import json
import pathlib

import pytest
from tests.serving.engines import server, tiny_model
from tests.serving.engines.generate import Job
from tests.serving.engines.test_turbospec_server import samples
from tests.serving.engines.test_vllm import generated

pytestmark = pytest.mark.timeout(600)
_REQUESTS = 60


def test_ranks_of_a_mixture_of_experts_draft_together(tmp_path: pathlib.Path) -> None:
    model = tmp_path / "model"
    tiny_model.write(str(model))
    expected, _ = generated(Job(str(model), ""), tmp_path, {})
    drafter = {"method": "draft_model", "model": str(model), "num_speculative_tokens": 4}
    flags = [*server.FLAGS.split(), "--speculative-config", json.dumps(drafter)]
    variables = {
        "CROSSDOCK_VLLM_EP": "1",
        "CROSSDOCK_TURBOSPEC": "1",
        "CROSSDOCK_TURBOSPEC_POLICY": "tests.serving.engines.wild_policy:of_this_process",
        "CROSSDOCK_TURBOSPEC_LOG": str(tmp_path / "log.jsonl"),
    }
    prompts = tiny_model.prompts()[:_REQUESTS]
    with (
        server.serving(model, tmp_path, flags, variables) as up,
        concurrent.futures.ThreadPoolExecutor(8) as users,
    ):
        answers = list(users.map(up.ask, prompts))
        answers += [up.ask(prompt) for prompt in prompts[:4]]  # one rank idles
        shown = samples(up.metrics())
        assert "crossdock: ranks" not in up.log.read_text()
    assert answers[:_REQUESTS] == [expected[str(number)][0] for number in range(_REQUESTS)]
    assert answers[_REQUESTS:] == answers[:4]
    for rank in (0, 1):
        agreed = shown[f'decisions_total{{engine="{rank}",reason="agreed"}}']
        assert agreed > 10
        assert shown[f'accepted_total{{engine="{rank}",position="1"}}'] > 10
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for rank in (0, 1):
        assert len({line["draft_length"] for line in lines if line["rank"] == rank}) > 3
