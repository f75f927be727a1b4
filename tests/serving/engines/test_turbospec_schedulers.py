"""Both schedulers against a worker without a model, one of them a step ahead as on GPUs."""

from __future__ import annotations

import collections
import pathlib
import random
import unittest.mock
from typing import Any

import pytest
from tests.serving.engines import tiny_dense
from tests.serving.engines.sequential_worker import Worker, following
from tests.serving.engines.wild_policy import Wild

_BLOCK = 16
_DRAFTS = 5
_SHORTER = {"method": "ngram", "prompt_lookup_max": 2}
_WHOLE = {"method": "suffix"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of the small models."""
    folder = tmp_path_factory.mktemp("models")
    tiny_dense.write(folder)
    return folder


def config_of(folder: pathlib.Path, drafter: dict[str, Any]) -> Any:
    """vLLM's configuration of an engine that nobody starts."""
    from vllm import EngineArgs

    drafter = {"num_speculative_tokens": _DRAFTS, **drafter}
    return EngineArgs(
        str(folder / "target"),
        dtype="float32",
        max_model_len=256,
        max_num_seqs=10,
        max_num_batched_tokens=80,
        speculative_config=drafter,
    ).create_engine_config()


def scheduler_of(config: Any, asynchronous: bool, policy: Wild) -> Any:
    """One of ours, with room for three and a half long requests."""
    import torch
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    from crossdock.serving import vllm

    blocks = 56
    config.cache_config.num_gpu_blocks = blocks
    spec = FullAttentionSpec(block_size=_BLOCK, num_kv_heads=1, head_size=8, dtype=torch.float32)
    cache = KVCacheConfig(blocks, [], [KVCacheGroupSpec(["layer"], spec)])
    name = "TurboSpecAsyncScheduler" if asynchronous else "TurboSpecScheduler"
    scheduler = getattr(vllm, name)(
        vllm_config=config,
        kv_cache_config=cache,
        structured_output_manager=StructuredOutputManager(config),
        block_size=_BLOCK,
    )
    scheduler.turbospec.use(policy)
    return scheduler


def requests() -> list[Any]:
    """Of all lengths; each fifth shares a whole prompt with another."""
    from vllm import SamplingParams
    from vllm.utils.hashing import get_hash_fn_by_name
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    from vllm.v1.request import Request

    dice = random.Random(4)
    shared = [dice.randrange(200) for _ in range(2 * _BLOCK + 1)]
    hasher = get_hash_fn_by_name("sha256")
    init_none_hash(hasher)
    made = []
    for number in range(60):
        prompt = [dice.randrange(200) for _ in range(dice.randrange(1, 100))]
        wanted = SamplingParams(max_tokens=dice.randrange(1, 110), temperature=0.0, ignore_eos=True)
        wanted.update_from_generation_config({}, eos_token_id=None)
        made.append(
            Request(
                request_id=str(number),
                prompt_token_ids=shared if number % 5 == 0 else prompt,
                sampling_params=wanted,
                pooling_params=None,
                block_hasher=get_request_block_hasher(_BLOCK, hasher),
            )
        )
    return made


def drive(scheduler: Any, worker: Worker, ahead: int, waiting: list[Any]) -> dict[str, list[int]]:
    """What all requests are given; each seventh is aborted on its way."""
    from vllm.v1.request import RequestStatus

    given: dict[str, list[int]] = collections.defaultdict(list)
    under_way: collections.deque[Any] = collections.deque()
    step = 0
    while waiting or scheduler.has_unfinished_requests() or under_way:
        if waiting and step % 3 == 0:
            scheduler.add_request(waiting.pop(0))
        if scheduler.has_unfinished_requests():
            under_way.append(scheduler.schedule())
            if len(under_way) < ahead:
                continue
        output = under_way.popleft()
        results, drafts = worker.run(output)
        for part in scheduler.update_from_output(output, results).values():
            for one in part.outputs:
                given[one.request_id].extend(one.new_token_ids)
                if int(one.request_id) % 7 == 6 and len(given[one.request_id]) > 4:
                    scheduler.finish_requests(one.request_id, RequestStatus.FINISHED_ABORTED)
        if ahead == 1 and output.total_num_scheduled_tokens:
            scheduler.update_draft_token_ids(drafts)
        step += 1
        assert step < 5000
    return dict(given)


@pytest.mark.parametrize("right", [1.0, 0.7])
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("drafter", [_SHORTER, _WHOLE], ids=["shorter", "whole"])
def test_requests_are_given_their_own_tokens(
    models: pathlib.Path, drafter: dict[str, Any], asynchronous: bool, right: float
) -> None:
    policy, worker = Wild(_DRAFTS), Worker(right)
    scheduler = scheduler_of(config_of(models, drafter), asynchronous, policy)
    preempt = scheduler._preempt_request
    scheduler._preempt_request = spy = unittest.mock.Mock(side_effect=preempt)
    everyone = requests()
    given = drive(scheduler, worker, 2 if asynchronous else 1, list(everyone))
    for request in everyone:
        context = list(request.prompt_token_ids[: request.num_prompt_tokens])
        tokens = given[request.request_id]
        assert len(tokens) == request.max_tokens or int(request.request_id) % 7 == 6
        for token in tokens:
            assert token == following(context)
            context.append(token)
    assert spy.call_count > 3
    verified = [step.verified for step in policy.steps]
    drafts = sum(sum(one.drafts) for one in verified)
    accepted = sum(sum(one.accepted) for one in verified)
    assert drafts > 1000
    if right == 1.0:
        assert accepted == drafts, "fillers and late results are no drafts"
    else:
        assert 0.3 < accepted / drafts < 0.8
    assert worker.asked == ({_DRAFTS} if drafter is _WHOLE else set(range(_DRAFTS + 1)))
    assert len({spec for specs in worker.given.values() for spec in specs}) == _DRAFTS + 1
    assert scheduler.turbospec.policy is policy
    assert len(policy.known - policy.forgotten) <= 2
