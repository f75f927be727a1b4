"""Two hundred scenarios, or any number: the same for the same seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from crossdock.serving.simulator import models
from crossdock.serving.simulator.acceptance import Acceptance, Bursts
from crossdock.serving.simulator.arrivals import (
    Arrivals,
    Closed,
    Diurnal,
    Gamma,
    Markov,
    Steps,
)
from crossdock.serving.simulator.costs import Drafter, TrueCost
from crossdock.serving.simulator.models import H100, LLAMA_1B, LLAMA_8B, LLAMA_70B, QWEN_235B
from crossdock.serving.simulator.phases import Lengths, Limits, Phase, Scenario
from crossdock.serving.turbospec.step import Work

_SCENARIO = 7_001
_LOOK_UP = 0.2
"""Share of scenarios that draft by looking up; they cost little, and tell policies apart little."""
_RAMP = 0.15
"""Share of a phase that the prompts of its first clients may take at most. A phase that ends when
they are computed would reward who had them computed last."""
_BUSY = 64
"""Requests of a batch whose goodput without speculation is called a load of 1."""


@dataclasses.dataclass(frozen=True)
class Family:
    """A model on its GPUs."""

    name: str
    cost: Callable[[Drafter], TrueCost]
    drafters: Mapping[str, Drafter]
    """The last one looks up what was said before."""
    blocks: int
    phase_s: tuple[float, float]
    """Phases last from so long to so long: some hundred steps."""


FAMILIES = (
    Family(
        "70B on 8 GPUs",
        lambda drafter: models.dense(LLAMA_70B, H100, 8, drafter),
        {
            "EAGLE": models.eagle(LLAMA_70B, H100, 8),
            "1B": models.draft_model(LLAMA_1B, H100, 8),
            "ngram": models.NGRAM,
        },
        models.kv_blocks(LLAMA_70B, H100, 8),
        (7.0, 12.0),
    ),
    Family(
        "8B on 1 GPU",
        lambda drafter: models.dense(LLAMA_8B, H100, 1, drafter),
        {"EAGLE": models.eagle(LLAMA_8B, H100, 1), "ngram": models.NGRAM},
        models.kv_blocks(LLAMA_8B, H100, 1),
        (6.0, 10.0),
    ),
    Family(
        "MoE on 8 GPUs",
        lambda drafter: models.expert_parallel(QWEN_235B, H100, 8, drafter),
        {"EAGLE": models.eagle(QWEN_235B, H100, 8), "ngram": models.NGRAM},
        models.kv_blocks(QWEN_235B, H100, 8),
        (8.0, 13.0),
    ),
)


def scenarios(count: int = 200, seed: int = 0) -> list[Scenario]:
    """So many, families in turn."""
    return [scenario(number, seed) for number in range(count)]


def scenario(number: int, seed: int = 0) -> Scenario:
    """One of them; it does not depend on how many there are."""
    rng = np.random.default_rng((seed, number, _SCENARIO))
    family = FAMILIES[number % len(FAMILIES)]
    *modelled, look_up = family.drafters
    drafter = look_up if rng.random() < _LOOK_UP else str(rng.choice(modelled))
    cost = family.cost(family.drafters[drafter])
    closed = rng.random() < 0.5
    lengths = Lengths(float(rng.choice((64, 256, 768))), float(rng.choice((96, 192, 384))))
    requests = int(rng.choice((64, 128, 256)))
    phases = []
    for _ in range(int(rng.integers(3, 5))):
        seconds = float(rng.uniform(*family.phase_s))
        most = min(1.2 * requests, _RAMP * seconds / (lengths.prompt * cost.compute))
        arrivals = closed_loop(rng, most) if closed else open_loop(rng, cost, lengths)
        phases.append(Phase(seconds, arrivals, acceptance(rng, drafter == look_up), lengths))
    blocks = family.blocks
    if rng.random() < 0.15:  # a cache that holds few requests: they are preempted
        blocks = min(blocks, int(rng.integers(16, 48) * (lengths.prompt + lengths.output) / 16))
        blocks = max(blocks, 1024)
    return Scenario(
        f"{number:03d} {'closed' if closed else 'open'} {drafter}",
        family.name,
        cost,
        phases,
        Limits(requests, tokens=2048 if requests < 256 else 4096, blocks=blocks),
        draft_max=int(rng.choice((4, 6, 8))),
        carry=False,
    )


def closed_loop(rng: np.random.Generator, most: float) -> Closed:
    """From one client to so many, evenly over orders of magnitude."""
    return Closed(int(np.exp(rng.uniform(0, np.log(most)))))


def open_loop(rng: np.random.Generator, cost: TrueCost, lengths: Lengths) -> Arrivals:
    """Of any kind; the load is from a thirtieth of what the engine can serve to a little more."""
    context = int(_BUSY * (lengths.prompt + lengths.output / 2))
    prompts = _BUSY * lengths.prompt / lengths.output
    work = Work(_BUSY, int(_BUSY + prompts), context, 0)
    rate = _BUSY / cost.seconds(work) / lengths.output
    load = float(np.exp(rng.uniform(np.log(0.03), np.log(1.1))))
    mean = load * rate
    kind = rng.integers(5)
    if kind == 0:
        return Gamma(mean)
    if kind == 1:
        return Gamma(mean, cv=float(rng.uniform(1.5, 3.0)))
    if kind == 2:
        return Markov((mean * 0.3, mean * 1.7), (2.0, 2.0))
    if kind == 3:
        return Steps(((3.0, mean * 0.4), (3.0, mean * 1.5), (1.0, mean)))
    return Diurnal(mean, swing=0.8, period=8.0)


def acceptance(rng: np.random.Generator, look_up: bool) -> Acceptance:
    """Even, falling along the draft, differing by request, in bursts, or changing as it goes."""
    mean = float(rng.uniform(0.15, 0.95))
    if look_up:
        bursts = Bursts(0.05, float(rng.uniform(8, 40)), float(rng.uniform(8, 60)), silent=True)
        return Acceptance(float(rng.uniform(0.4, 0.95)), bursts=bursts)
    kind = rng.integers(5)
    if kind == 0:
        return Acceptance(mean)
    if kind == 1:
        return Acceptance(mean, decay=float(rng.uniform(0.85, 0.98)))
    if kind == 2:
        return Acceptance(mean, spread=float(rng.uniform(0.1, 0.25)), decay=0.97)
    if kind == 3:
        return Acceptance(max(mean, 0.7), bursts=Bursts(0.1, 24.0, float(rng.uniform(4, 32))))
    return Acceptance(min(mean, 0.8), trend=float(rng.uniform(-0.3, 0.3)), spread=0.1)


def ladder(cost: TrueCost, phase_s: float = 8.0, draft_max: int = 7) -> Scenario:
    """Constant batches and acceptance in five phases, as real engines are tested with.

    (requests, chance): (1, .9), (32, .4), (8, .8), (32, .9), (2, .3).
    """
    steps = ((1, 0.9), (32, 0.4), (8, 0.8), (32, 0.9), (2, 0.3))
    lengths = Lengths(64, 20_000, 0.1, 0.1)
    phases = [Phase(phase_s, Closed(n), Acceptance(p), lengths) for n, p in steps]
    return Scenario("ladder", "ladder", cost, phases, draft_max=draft_max)
