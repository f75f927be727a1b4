"""What the control of speculation adds to a scheduler of vLLM: real schedulers, and no model.

All that the plug-in does on the thread of the engine is in the methods of the scheduler that it
overrides. They call vLLM's own and are called by them, so the time of each is told apart by who
was called last.
"""

from __future__ import annotations

import collections
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from crossdock.bench.turbospec import models, stage
from crossdock.serving.turbospec import Controller, CostModel, Work
from crossdock.serving.vllm import inprocess

OURS, THEIRS = "ours", "theirs"
METHODS = ("schedule", "_update_after_schedule", "update_from_output", "update_draft_token_ids")
PROMPT, OUTPUT = 64, 192
"""Tokens of each request; requests begin one after the other, and the next takes the place."""
_BLOCK = 16
_WARM_UP = 100


class Watch:
    """Adds up the time of two parties that call each other."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((OURS, THEIRS), 0.0)
        self._parties: list[str] = []
        self._since = 0.0

    def around(self, party: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same method, whose time is this party's but for calls of the other one's."""

        def method(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
            self._pass()
            self._parties.append(party)
            try:
                return call(scheduler, *args, **kwargs)
            finally:
                self._pass()
                self._parties.pop()

        return method

    def _pass(self) -> None:
        now = time.perf_counter()
        if self._parties:
            self.seconds[self._parties[-1]] += now - self._since
        self._since = now


class Clock:
    """Time of an engine whose steps cost what a model of costs says."""

    def __init__(self, costs: CostModel) -> None:
        self._costs = costs
        self._now = 0.0

    def now(self) -> float:
        """Seconds."""
        return self._now

    def ran(self, work: Work) -> None:
        """A step has run."""
        self._now += self._costs.seconds(work)


class SchedulerLoop:
    """Steps of a scheduler of vLLM with the control in it.

    Args:
        requests: that run at once.
        asynchronous: steps are scheduled while the one before them runs, as on GPUs.
        costs: of the engine.

    Raises:
        EngineMissing: vLLM is not here.
    """

    def __init__(self, requests: int, asynchronous: bool, costs: CostModel) -> None:
        for name, value in stage.ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        inprocess.expect()
        self.watch = Watch()
        self._scheduler = _scheduler(requests, asynchronous, self.watch)
        policy = Controller(stage.MOST_DRAFTS, costs)
        self._scheduler.turbospec.use(policy, Clock(costs))
        self._ahead = 2 if asynchronous else 1
        self._under_way: collections.deque[Any] = collections.deque()
        self._numbers = itertools.count()
        self._requests = requests
        self._dice = np.random.default_rng(1)
        self._chances: dict[str, float] = {}
        for _ in range(OUTPUT + _WARM_UP):
            self.step()

    def step(self) -> dict[str, float]:
        """Seconds of each party in a step."""
        scheduler, under_way = self._scheduler, self._under_way
        # One at a time, so that not all end at once.
        if scheduler.get_num_unfinished_requests() < self._requests:
            scheduler.add_request(self._request(f"request-{next(self._numbers)}"))
        self.watch.seconds = dict.fromkeys((OURS, THEIRS), 0.0)
        while len(under_way) < self._ahead:
            under_way.append(scheduler.schedule())
        output = under_way.popleft()
        results, drafts = self._run(output)
        scheduler.update_from_output(output, results)
        if self._ahead == 1 and drafts is not None:
            scheduler.update_draft_token_ids(drafts)
        assert scheduler.turbospec.policy is not None
        return dict(self.watch.seconds)

    def _request(self, name: str) -> Any:
        from vllm import SamplingParams
        from vllm.v1.request import Request

        self._chances[name] = float(self._dice.uniform(0.1, 0.97))
        return Request(name, [1] * PROMPT, SamplingParams(max_tokens=OUTPUT, temperature=0.0), None)

    def _run(self, output: Any) -> tuple[Any, Any]:
        from vllm.v1.outputs import DraftTokenIds, ModelRunnerOutput

        names = list(output.num_scheduled_tokens)
        if not names:
            return ModelRunnerOutput(req_ids=[], req_id_to_index={}), None
        specs = output.scheduled_spec_decode_tokens
        had = np.array([len(specs.get(name, ())) for name in names])
        chances = np.array([self._chances[name] for name in names])
        good = np.minimum(self._dice.geometric(1 - chances) - 1, had)
        results = ModelRunnerOutput(
            req_ids=names,
            req_id_to_index={name: place for place, name in enumerate(names)},
            sampled_token_ids=[[1] * (1 + int(count)) for count in good],
        )
        length = output.num_spec_tokens_to_schedule
        return results, DraftTokenIds(names, [[1] * length for _ in names])


def _scheduler(requests: int, asynchronous: bool, watch: Watch) -> Any:
    import torch
    from vllm import EngineArgs
    from vllm.v1.core.sched.async_scheduler import AsyncScheduler
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    from crossdock.serving import vllm

    with tempfile.TemporaryDirectory() as folder:
        model = models.random_model(Path(folder), models.TINY)
        arguments = {
            **stage.ARGUMENTS,
            "enable_prefix_caching": False,
            "max_num_seqs": requests,
            "max_num_batched_tokens": max(2048, requests * (stage.MOST_DRAFTS + 1) + PROMPT),
        }
        drafter = dict(stage.SPECULATIVE)
        args = EngineArgs(str(model), speculative_config=drafter, **arguments)
        config = args.create_engine_config()
    blocks = requests * (-(-(PROMPT + OUTPUT) // _BLOCK) + 2) + 1
    config.cache_config.num_gpu_blocks = blocks
    spec = FullAttentionSpec(block_size=_BLOCK, num_kv_heads=1, head_size=8, dtype=torch.float32)
    own = AsyncScheduler if asynchronous else Scheduler
    ours = vllm.TurboSpecAsyncScheduler if asynchronous else vllm.TurboSpecScheduler
    inner = type("Inner", (own,), {m: watch.around(THEIRS, getattr(own, m)) for m in METHODS})
    outer = type("Outer", (ours, inner), {m: watch.around(OURS, getattr(ours, m)) for m in METHODS})
    return outer(
        vllm_config=config,
        kv_cache_config=KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], spec)]),
        structured_output_manager=StructuredOutputManager(config),
        block_size=_BLOCK,
    )
