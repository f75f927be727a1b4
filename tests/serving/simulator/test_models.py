"""The presets, against the configurations of the models and the data sheet that they state."""

from __future__ import annotations

import pytest

from crossdock.serving.simulator import models
from crossdock.serving.simulator.costs import TrueCost
from crossdock.serving.simulator.families import FAMILIES
from crossdock.serving.simulator.models import H100, LLAMA_1B, LLAMA_8B, LLAMA_70B, QWEN_235B, Model
from crossdock.serving.turbospec.step import Work

# Numbers of the MLP's inner layer, as the models' configurations have them.
MLP = {LLAMA_1B: 8192, LLAMA_8B: 14336, LLAMA_70B: 28672}
HEADS = {LLAMA_1B: 32, LLAMA_8B: 32, LLAMA_70B: 64, QWEN_235B: 64}


def attention(model: Model) -> float:
    """Weights of a layer's projections."""
    return 2 * model.hidden * model.head * (HEADS[model] + model.kv_heads)


@pytest.mark.parametrize("model", MLP)
def test_a_dense_model_has_the_weights_of_its_layers(model: Model) -> None:
    layers = model.layers * (attention(model) + 3 * model.hidden * MLP[model])
    tied = 1 if model is LLAMA_1B else 2  # its head is its table of tokens
    assert model.weights == pytest.approx(layers + tied * model.vocabulary * model.hidden, rel=0.01)
    assert model.used == model.total == model.weights


def test_a_mixture_uses_the_experts_that_were_chosen() -> None:
    router = QWEN_235B.hidden * QWEN_235B.experts
    layers = QWEN_235B.layers * (attention(QWEN_235B) + router)
    shared = layers + 2 * QWEN_235B.vocabulary * QWEN_235B.hidden
    assert QWEN_235B.weights == pytest.approx(shared, rel=0.02)
    assert QWEN_235B.total == pytest.approx(235e9, rel=0.01)
    assert QWEN_235B.used == pytest.approx(22e9, rel=0.01)


def test_the_cache_holds_keys_and_values_of_each_layer() -> None:
    assert LLAMA_8B.kv_bytes == 131_072
    assert LLAMA_70B.kv_bytes == 327_680


@pytest.mark.parametrize(("model", "gpus"), [(LLAMA_8B, 1), (LLAMA_70B, 8), (QWEN_235B, 8)])
def test_weights_and_cache_fill_the_memory(model: Model, gpus: int) -> None:
    cache = models.kv_blocks(model, H100, gpus) * models.BLOCK * model.kv_bytes
    left = gpus * H100.memory - model.total * model.bytes - cache
    assert 0 <= left < models.BLOCK * model.kv_bytes


def alone(cost: TrueCost, tokens: int) -> float:
    """Seconds of the target for so many tokens of one request."""
    work = Work(requests=1, tokens=tokens, context=0, draft_length=0)
    return cost.seconds(work) - cost.drafter.seconds(work)


def test_one_token_of_an_8b_takes_the_time_to_read_it() -> None:
    cost = models.dense(LLAMA_8B, H100, 1, models.NGRAM)
    reading = 2 * 8.03e9 / (0.8 * 3.35e12)
    rest = models.HOST + models.LAUNCH + models.HOST_REQUEST
    assert alone(cost, 1) == pytest.approx(reading + rest, rel=0.01)


def test_many_tokens_take_the_time_to_compute_them() -> None:
    cost = models.dense(LLAMA_8B, H100, 1, models.NGRAM)
    computing = 2 * 8.03e9 / (0.6 * 989e12)
    assert alone(cost, 4096) - alone(cost, 2048) == pytest.approx(2048 * (computing + 1e-6))


def test_eight_gpus_read_eight_times_as_fast_and_talk() -> None:
    one = models.dense(LLAMA_70B, H100, 1, models.NGRAM)
    eight = models.dense(LLAMA_70B, H100, 8, models.NGRAM)
    assert eight.weights == pytest.approx(one.weights / 8)
    assert eight.compute == pytest.approx(one.compute / 8)
    assert eight.per_context == pytest.approx(one.per_context / 8)
    assert eight.per_token > one.per_token
    assert eight.fixed - one.fixed == pytest.approx(2 * 80 * models.HOP)


def test_one_byte_a_weight_is_computed_twice_as_fast() -> None:
    assert H100.at(1) == 2 * H100.at(2)


def test_a_mixture_reads_more_experts_the_more_tokens_there_are() -> None:
    cost = models.expert_parallel(QWEN_235B, H100, 8, models.NGRAM)
    assert cost.experts is not None
    times = [alone(cost, tokens) for tokens in (1, 8, 64, 256)]
    assert times == sorted(times)
    every = QWEN_235B.experts * QWEN_235B.expert_weights / (8 * 0.8 * 3.35e12)
    assert cost.experts.read(10_000) == pytest.approx(every)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_drafter_is_cheaper_than_its_target(family) -> None:  # type: ignore[no-untyped-def]
    for drafter in family.drafters.values():
        cost = family.cost(drafter)
        work = Work(requests=8, tokens=8, context=4096, draft_length=1)
        assert drafter.seconds(work) < 0.25 * (cost.seconds(work) - drafter.seconds(work))
