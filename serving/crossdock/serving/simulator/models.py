"""Presets: what a step costs, derived from stated figures of hardware and models.

Figures of GPUs are those of NVIDIA's data sheet of the H100 SXM; figures of models those of their
configuration files. What a step reaches of them is stated here as well: of the memory's bandwidth
80 %, of the arithmetic 60 %, of NVLink 70 %.
"""

from __future__ import annotations

import dataclasses

from crossdock.serving.simulator.costs import Drafter, Experts, TrueCost

OF_BANDWIDTH = 0.8
OF_ARITHMETIC = 0.6
OF_LINK = 0.7
LAUNCH = 0.15e-3
"""Seconds to launch a captured graph and to take its result."""
HOST = 1.0e-3
"""Seconds of the host for a step: scheduling, tensors of the input, detokenising."""
HOST_REQUEST = 6e-6
"""Seconds of the host and the sampler for each request."""
HOP = 6e-6
"""Seconds of an all-reduce within a node, whatever its size."""
EXCHANGE = 15e-6
"""Seconds of a dispatch or combine within a node, whatever its size."""
EAGER_LAYER = 25e-6
"""Seconds a layer that launching kernels one by one takes longer than a graph."""
BLOCK = 16
"""Tokens of a block of the KV cache."""


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What the data sheet says of a GPU."""

    bandwidth: float
    """Bytes a second of its memory."""
    arithmetic: float
    """Operations a second of its tensor cores, by the format of the weights' bytes below."""
    link: float
    """Bytes a second to the others of the node, one way."""
    memory: float
    """Bytes that the engine may use."""

    def at(self, bytes_per_weight: float) -> float:
        """Operations a second: weights of one byte run twice as fast as those of two."""
        return self.arithmetic * 2 / bytes_per_weight


H100 = Gpu(bandwidth=3.35e12, arithmetic=989e12, link=450e9, memory=0.9 * 80e9)
"""``arithmetic`` is that of BF16, dense."""


@dataclasses.dataclass(frozen=True)
class Model:
    """What the configuration of a model says."""

    weights: float
    """Number that every token uses, without the experts."""
    layers: int
    hidden: int
    kv_heads: int
    head: int
    """Numbers of a head of the attention."""
    vocabulary: int
    bytes: float = 2.0
    """Of a weight."""
    experts: int = 0
    chosen: int = 0
    expert_weights: float = 0.0
    """Number of all layers for one expert."""

    @property
    def kv_bytes(self) -> float:
        """Of a token in the KV cache, in 16 bits."""
        return self.layers * self.kv_heads * self.head * 2 * 2.0

    @property
    def used(self) -> float:
        """Weights that a token uses."""
        return self.weights + self.chosen * self.expert_weights

    @property
    def total(self) -> float:
        """Weights that the GPUs hold, if each but those of experts is held once."""
        return self.weights + self.experts * self.expert_weights


LLAMA_8B = Model(8.03e9, layers=32, hidden=4096, kv_heads=8, head=128, vocabulary=128_256)
LLAMA_70B = Model(70.6e9, layers=80, hidden=8192, kv_heads=8, head=128, vocabulary=128_256)
LLAMA_1B = Model(1.24e9, layers=16, hidden=2048, kv_heads=8, head=64, vocabulary=128_256)
QWEN_235B = Model(
    7.9e9,
    layers=94,
    hidden=4096,
    kv_heads=4,
    head=128,
    vocabulary=151_936,
    bytes=1.0,
    experts=128,
    chosen=8,
    expert_weights=94 * 3 * 4096 * 1536.0,
)
"""22 of 235 thousand million weights a token, in FP8."""

NGRAM = Drafter(each_pass=0.0, per_token=0.0, keeps_state=False, per_request=10e-6, once=50e-6)
"""Looking up what followed the last words: on the host, as long for one token as for many."""


def eagle(target: Model, gpu: Gpu, gpus: int) -> Drafter:
    """One layer of the target and its head over the vocabulary, split over the target's GPUs."""
    layer = 12 * target.hidden**2 * 1.0
    return _passes(layer + target.hidden * target.vocabulary, 1, gpu, gpus)


def draft_model(model: Model, gpu: Gpu, gpus: int) -> Drafter:
    """A small model, split over the target's GPUs."""
    return _passes(model.weights, model.layers, gpu, gpus)


def _passes(weights: float, layers: int, gpu: Gpu, gpus: int) -> Drafter:
    reading = weights * 2 / (gpus * gpu.bandwidth * OF_BANDWIDTH)
    hops = 2 * layers * HOP if gpus > 1 else 0.0
    arithmetic = 2 * weights / (gpus * gpu.at(2) * OF_ARITHMETIC)
    return Drafter(LAUNCH + reading + hops, arithmetic, keeps_state=True)


def dense(model: Model, gpu: Gpu, gpus: int, drafter: Drafter) -> TrueCost:
    """A model of which every token uses all, split over GPUs of one node by tensors."""
    memory = gpus * gpu.bandwidth * OF_BANDWIDTH
    reduced = 0.0
    if gpus > 1:
        moved = 2 * model.layers * model.hidden * 2 * 2 * (gpus - 1) / gpus
        reduced = moved / (gpu.link * OF_LINK)
    return TrueCost(
        fixed=HOST + LAUNCH + (2 * model.layers * HOP if gpus > 1 else 0.0),
        per_request=HOST_REQUEST,
        weights=model.weights * model.bytes / memory,
        compute=2 * model.weights / (gpus * gpu.at(model.bytes) * OF_ARITHMETIC),
        per_token=reduced + 1e-6,
        per_context=model.kv_bytes / memory,
        drafter=drafter,
        eager=model.layers * EAGER_LAYER,
    )


def expert_parallel(model: Model, gpu: Gpu, gpus: int, drafter: Drafter) -> TrueCost:
    """A mixture of experts over GPUs of one node: each has all of the attention, some experts.

    Requests are split over the GPUs, so that each reads a part of the KV cache. A token goes to
    its experts in one byte a number and comes back in two.
    """
    own = gpu.bandwidth * OF_BANDWIDTH
    moved = model.layers * model.chosen * model.hidden * 3 / gpus
    return TrueCost(
        fixed=HOST + LAUNCH + 2 * model.layers * EXCHANGE,
        per_request=HOST_REQUEST,
        weights=model.weights * model.bytes / own,
        compute=2 * model.used / (gpus * gpu.at(model.bytes) * OF_ARITHMETIC),
        per_token=moved / (gpu.link * OF_LINK) + 1e-6,
        per_context=model.kv_bytes / (gpus * own),
        drafter=drafter,
        experts=Experts(
            model.experts,
            model.chosen,
            model.experts * model.expert_weights * model.bytes / (gpus * own),
        ),
        eager=model.layers * EAGER_LAYER,
    )


def kv_blocks(model: Model, gpu: Gpu, gpus: int) -> int:
    """Blocks of the KV cache that fit beside the weights."""
    room = gpus * gpu.memory - model.total * model.bytes
    return int(room / (model.kv_bytes * BLOCK))
