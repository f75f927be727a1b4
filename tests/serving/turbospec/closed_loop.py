"""A closed loop of a policy and a made-up engine, in virtual time."""

from __future__ import annotations

import dataclasses

import numpy as np

from crossdock.serving.turbospec import Batch, CostModel, Fixed, Policy, Step, Verified, Work

COSTS = CostModel(
    step_s=0.0115,
    request_s=0.00017,
    context_s=0.0,
    knots=(0.0, 100.0),
    knots_s=(0.0, 0.067),
    draft_s=0.0005,
    draft_token_s=0.0005,
    draft_request_s=0.0,
)
"""As measured with vLLM on two cores: 11.5 + 0.17 batch + 0.67 tokens ms."""
# 64 tokens are free, each further one costs 0.1 ms.
KNEE = CostModel(
    step_s=0.010,
    request_s=0.0,
    context_s=0.0,
    knots=(1.0, 64.0, 128.0),
    knots_s=(0.0, 0.0, 0.0064),
    draft_s=0.0,
    draft_token_s=0.0,
    draft_request_s=0.0,
)
LONGEST = 8


@dataclasses.dataclass(frozen=True)
class Phase:
    """So many requests, each draft of which is accepted with the same chance."""

    requests: int
    chance: float
    seconds: float = 5.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of one phase."""

    goodput: float
    lengths: list[int]


def run(
    policy: Policy, phases: list[Phase], seed: int = 0, costs: CostModel = COSTS
) -> list[Outcome]:
    """The phases one after the other; drafts are right or wrong whatever the policy."""
    scatter = np.random.default_rng(seed)
    return [_phase(policy, p, (seed, i), scatter, costs) for i, p in enumerate(phases)]


def _phase(
    policy: Policy,
    phase: Phase,
    seed: tuple[int, int],
    scatter: np.random.Generator,
    costs: CostModel,
) -> Outcome:
    count = phase.requests
    names = [f"{seed[1]}.{i}" for i in range(count)]
    right = np.random.default_rng(seed).random((count, 8000)) < phase.chance
    places = np.zeros(count, int)
    batch = Batch(names, context=count * 200)
    plan = policy.plan(batch)
    drafted = np.zeros(count, int)  # the first step has no drafts
    passed, tokens, lengths = 0.0, 0, []
    while passed < phase.seconds:
        accepted = np.zeros(count, int)
        for i in range(count):
            while accepted[i] < drafted[i] and right[i, places[i] + accepted[i]]:
                accepted[i] += 1
        places += accepted + 1
        drawn = plan if passed == 0 else policy.plan(batch)
        work = Work(count, int(count + drafted.sum()), batch.context, drawn.draft_length)
        seconds = costs.seconds(work) * float(1 + 0.03 * scatter.standard_normal())
        had = np.flatnonzero(drafted)
        verified = Verified([names[i] for i in had], drafted[had].tolist(), accepted[had].tolist())
        generated = int(count + accepted.sum())
        policy.observe(Step(work, seconds, verified, generated))
        plan, drafted = drawn, np.array(drawn.verify)
        passed, tokens = passed + seconds, tokens + generated
        lengths.append(plan.draft_length)
    policy.forget(names)
    return Outcome(tokens / passed, lengths)


def best_fixed(phases: list[Phase], seed: int = 0, costs: CostModel = COSTS) -> list[float]:
    """The goodput of the best fixed length of each phase."""
    lengths = range(LONGEST + 1)
    runs = [[o.goodput for o in run(Fixed(k), phases, seed, costs)] for k in lengths]
    return [max(of_phase) for of_phase in zip(*runs, strict=True)]


def regrets(policy: Policy, phases: list[Phase], seed: int = 0) -> list[float]:
    """What is lost against the best fixed length of each phase, transitions included."""
    best = best_fixed(phases, seed)
    return [1 - o.goodput / b for o, b in zip(run(policy, phases, seed), best, strict=True)]
