"""Drives one engine through all that a request can meet: ``python turbospec_job.py '{...}'``.

Requests join and leave, are preempted for want of KV cache, are aborted, stop at strings, follow
grammars; their prompts come in chunks and share prefixes. What each was answered goes to a file.
"""

from __future__ import annotations

import json
import pathlib
import random
import sys
from typing import Any

import msgspec
from tests.serving.engines import wild_policy

REQUESTS = 48


class Job(msgspec.Struct):
    """What to run."""

    model: str
    out: str
    speculative: dict[str, Any] | None = None
    options: dict[str, Any] = {}
    grammars: bool = True


class Request(msgspec.Struct):
    """One request of the script."""

    prompt: list[int]
    tokens: int
    joins: int
    """The step before which it is added."""
    aborted: int | None = None
    """Tokens after which it is aborted."""
    stop: list[str] = []
    regex: str | None = None


def script(grammars: bool) -> list[Request]:
    """The requests of all runs; without grammars they are the same but for those."""
    dice = random.Random(3)
    shared = [dice.randrange(256) for _ in range(48)]
    requests = []
    for number in range(REQUESTS):
        own = [dice.randrange(256) for _ in range(dice.randrange(1, 60))]
        prompt = shared + own if number % 3 == 0 else own
        if number % 8 == 5:
            prompt = shared  # all of it is in the cache but for one block
        request = Request(prompt, dice.randrange(2, 70), dice.randrange(0, 60))
        if number % 8 == 1:
            request.aborted = dice.randrange(1, request.tokens)
        elif number % 8 == 2:
            request.stop = [chr(dice.randrange(97, 123)) for _ in range(3)]
        elif number % 8 == 3 and grammars:
            request.regex = "[a-f]{3}(xy|yx)+[0-9]{2,40}"
        requests.append(request)
    return requests


def main() -> None:
    """Run the job."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    from vllm import EngineArgs, LLMEngine

    arguments = {
        "model": job.model,
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 256,
        "max_num_seqs": 12,
        "max_num_batched_tokens": 96,
        "num_gpu_blocks_override": 24,
        "block_size": 32,
        "seed": 0,
        "disable_log_stats": True,
        "speculative_config": job.speculative,
        **job.options,
    }
    engine = LLMEngine.from_engine_args(EngineArgs(**arguments))
    answers = drive(engine, script(job.grammars))
    core = engine.engine_core.engine_core
    driver = getattr(core.scheduler, "turbospec", None)
    report = {
        "answers": answers,
        "scheduler": type(core.scheduler).__name__,
        "preemptions": Counted.preemptions,
        "policy": wild_policy.report(driver),
    }
    pathlib.Path(job.out).write_text(json.dumps(report))


class Counted:
    """What the run met."""

    preemptions = 0


def drive(engine: Any, requests: list[Request]) -> dict[str, Any]:
    """What each request was answered; of one that was aborted, what it had by then."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    scheduler = engine.engine_core.engine_core.scheduler
    preempt = scheduler._preempt_request

    def counted(*args: Any, **kwargs: Any) -> None:
        Counted.preemptions += 1
        preempt(*args, **kwargs)

    scheduler._preempt_request = counted
    answers: dict[str, Any] = {}
    waiting = sorted(enumerate(requests), key=lambda item: item[1].joins)
    step = 0
    while waiting or engine.has_unfinished_requests():
        while waiting and waiting[0][1].joins <= step:
            number, request = waiting.pop(0)
            wanted = SamplingParams(
                temperature=0,
                max_tokens=request.tokens,
                stop=request.stop or None,
                ignore_eos=request.regex is None,
                structured_outputs=(
                    StructuredOutputsParams(regex=request.regex) if request.regex else None
                ),
            )
            engine.add_request(str(number), {"prompt_token_ids": request.prompt}, wanted)
        for output in engine.step():
            found, name = output.outputs[0], output.request_id
            aborted = requests[int(name)].aborted
            if output.finished:
                answers[name] = [list(found.token_ids), found.text]
            elif aborted is not None and len(found.token_ids) >= aborted:
                engine.abort_request([name])
                answers[name] = list(found.token_ids)[:aborted]
        step += 1
    return answers


if __name__ == "__main__":
    main()
