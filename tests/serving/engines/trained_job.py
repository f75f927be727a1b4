"""A trained target with a trained draft, under the controller: ``trained_job.py MODELS OUT``.

Answers are compared with those of the target alone; what was accepted is counted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from crossdock.bench.turbospec import models, stage, training
from crossdock.serving.turbospec.controller import Controller
from crossdock.serving.turbospec.driver import Outcome

_STEPS = 300
_REQUESTS = 16
_PROMPT = 48
_TOKENS = 64
_DRAFTS = 4


def main(folder: Path, out: Path) -> None:
    """Run both engines."""
    stage.prepare()
    target, draft = models.trained_pair(folder, _STEPS, print)
    prompts = training.prompts(target, _REQUESTS, _PROMPT)
    plain, _ = _answers(target, None, prompts)
    speculative = {
        "method": "draft_model",
        "model": str(draft),
        "num_speculative_tokens": _DRAFTS,
    }
    answers, steps = _answers(target, speculative, prompts)
    accepted = sum(sum(outcome.step.verified.accepted) for outcome in steps)
    rejected = sum(
        kept < drafted
        for outcome in steps
        for kept, drafted in zip(
            outcome.step.verified.accepted, outcome.step.verified.drafts, strict=True
        )
    )
    out.write_text(
        json.dumps(
            {
                "equal": answers == plain,
                "accepted": accepted,
                "judged": accepted + rejected,
                "lengths": [0 if o.plan is None else o.plan.draft_length for o in steps],
            }
        )
    )


def _answers(
    target: Path, speculative: dict[str, Any] | None, prompts: list[list[int]]
) -> tuple[list[list[int]], list[Outcome]]:
    from crossdock.serving.vllm.inprocess import InProcess
    from crossdock.serving.vllm.scheduler import TurboSpecScheduler

    vllm = InProcess(str(target), speculative, TurboSpecScheduler, stage.ARGUMENTS)
    steps: list[Outcome] = []
    if speculative is not None:
        vllm.scheduler.turbospec.use(Controller(_DRAFTS))
        vllm.scheduler.turbospec.observers[:] = [steps.append]
    names = {vllm.add(f"{i}", prompt, _TOKENS): i for i, prompt in enumerate(prompts)}
    answers: list[list[int]] = [[] for _ in prompts]
    while vllm.scheduler.has_unfinished_requests():
        for output in vllm.step():
            answers[names[output.request_id]] += output.new_token_ids
    vllm.close()
    return answers, steps


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
