"""The engine on which policies take turns: vLLM, with an oracle for a drafter."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossdock.bench.errors import BenchFailed
from crossdock.bench.turbospec import load, models
from crossdock.bench.turbospec.load import Asked
from crossdock.bench.turbospec.scenario import Scenario
from crossdock.serving.turbospec.clock import Clock
from crossdock.serving.turbospec.driver import Outcome
from crossdock.serving.turbospec.fixed import Fixed
from crossdock.serving.turbospec.step import Policy
from crossdock.serving.vllm import oracle
from crossdock.serving.vllm.inprocess import InProcess
from crossdock.serving.vllm.oracle import SCRIPTS, Script

MOST_DRAFTS = 8
_CONTEXT = 512
ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_HOST_IP": "127.0.0.1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}
"""What a small engine on a CPU needs; what the user has set goes before it."""
ARGUMENTS: Mapping[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "skip_tokenizer_init": True,
    "max_model_len": _CONTEXT,
    "max_num_seqs": load.MOST_REQUESTS,
    "max_num_batched_tokens": 4 * _CONTEXT,
    "distributed_executor_backend": "uni",
    "disable_log_stats": True,
}
SPECULATIVE: Mapping[str, Any] = {
    "method": "custom_class",
    "model": oracle.NAME,
    "num_speculative_tokens": MOST_DRAFTS,
}


@dataclasses.dataclass
class Ran:
    """What a policy made of a phase."""

    steps: list[tuple[float, float, int, int]] = dataclasses.field(default_factory=list)
    """Of each: end, seconds, tokens generated, length of the drafts in it."""
    times_per_token: list[float] = dataclasses.field(default_factory=list)
    """Of each request, from its first token to its last, in seconds."""
    tokens: int = 0
    wrong: int = 0
    """Tokens that differ from those without speculation."""


@dataclasses.dataclass
class _Live:
    asked: Asked
    lane: int
    got: int = 0
    first: float = 0.0
    last: float = 0.0


class Stage:
    """One engine. What its models say without speculation is found out when it starts.

    Args:
        model: folder of a model.
        seed: of the prompts.

    Raises:
        EngineMissing: vLLM is not here, or does not start.
    """

    def __init__(self, model: Path, seed: int) -> None:
        prepare()
        from crossdock.serving.vllm.oracle_scheduler import OracleScheduler

        self._vllm = InProcess(str(model), SPECULATIVE, OracleScheduler, ARGUMENTS)
        if self._vllm.scheduler.turbospec is None:
            raise BenchFailed("the scheduler does not control speculation; see vLLM's log")
        self._driver = self._vllm.scheduler.turbospec
        self._prompts = load.prompts(seed, models.VOCABULARY)
        self._said: list[list[int]] = [[] for _ in self._prompts]
        self._numbers = itertools.count()
        self._say()

    def _say(self) -> None:
        """What follows each prompt, greedily and without speculation."""
        self._driver.use(Fixed(0))
        names = {
            self._vllm.add(f"say-{place}", prompt, load.MOST_TOKENS): place
            for place, prompt in enumerate(self._prompts)
        }
        while self._vllm.scheduler.has_unfinished_requests():
            for output in self._vllm.step():
                self._said[names[output.request_id]] += output.new_token_ids
        self._vllm.forget(list(names))

    def run(
        self,
        policy: Policy,
        clock: Clock,
        scenario: Scenario,
        phase: int,
        seed: int,
        seconds: float,
    ) -> Ran:
        """Let a policy serve a phase for so many seconds of its clock; nothing is left of it.

        The first step, in which all prompts are read, is the same for all and does not count.
        """
        ran = Ran()

        def watch(outcome: Outcome) -> None:
            drafted = 0 if outcome.plan is None else outcome.plan.draft_length
            step = outcome.step
            ran.steps.append((outcome.time, step.seconds, step.generated, drafted))

        self._driver.use(policy, clock)
        lanes = range(scenario.phases[phase].requests)
        numbers = [itertools.count() for _ in lanes]
        live: dict[str, _Live] = {}

        def join(lane: int) -> None:
            asked = load.asked(scenario, phase, lane, next(numbers[lane]), seed)
            live[self._join(asked)] = _Live(asked, lane)

        for lane in lanes:
            join(lane)
        for output in self._vllm.step():
            self._took(live[output.request_id], output.new_token_ids, clock.now(), ran)
        ran.tokens = 0
        self._driver.observers[:] = [watch]
        end = clock.now() + seconds
        while clock.now() < end:
            outputs = self._vllm.step()
            for output in outputs:
                self._took(live[output.request_id], output.new_token_ids, clock.now(), ran)
            for output in outputs:
                if output.finish_reason is not None:
                    gone = live.pop(output.request_id)
                    self._leave([output.request_id], [gone], ran)
                    join(gone.lane)
        self._vllm.abort(list(live))
        self._leave([], list(live.values()), ran)
        self._vllm.step()  # the policy is told of those who have left
        self._driver.observers.clear()
        if self._driver.policy is not policy:
            raise BenchFailed(f"the engine has given up {type(policy).__name__}; see vLLM's log")
        return ran

    def close(self) -> None:
        """Give the engine back."""
        SCRIPTS.clear()
        self._vllm.close()

    def _join(self, asked: Asked) -> str:
        prompt = self._prompts[asked.prompt]
        SCRIPTS.add(Script(prompt, self._said[asked.prompt][: asked.tokens], asked.right))
        return self._vllm.add(f"ask-{next(self._numbers)}", prompt, asked.tokens)

    def _took(self, request: _Live, tokens: list[int], now: float, ran: Ran) -> None:
        said = self._said[request.asked.prompt][request.got : request.got + len(tokens)]
        ran.wrong += sum(a != b for a, b in zip(said, tokens, strict=True))
        ran.tokens += len(tokens)
        if request.got == 0:
            request.first = now
        request.got += len(tokens)
        request.last = now

    def _leave(self, names: list[str], gone: list[_Live], ran: Ran) -> None:
        self._vllm.forget(names)
        for request in gone:
            SCRIPTS.drop(self._prompts[request.asked.prompt])
            if request.got > 1:
                ran.times_per_token.append((request.last - request.first) / (request.got - 1))


def prepare() -> None:
    """Set what vLLM reads when it is imported, and the threads of a torch that was before."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import torch

    # More threads than free cores wait for each other; small steps take ten times as long then.
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
