"""The core of the controller once more, in plain Python and without haste: what the fast one must
give. Written from the descriptions in ``serving/csrc``, request by request and plan by plan."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from crossdock.serving.turbospec import CostModel, Work
from crossdock.serving.turbospec.prompts import Expected

EDGES = (0.3, 0.5, 0.65, 0.77, 0.86, 0.92, 0.96)
MOST_CHANCE = 1 - 1e-9


def class_of(chance: float) -> int:
    """How many edges lie below a chance."""
    return sum(edge < chance for edge in EDGES)


def odds(chance: float) -> float:
    return chance / (1 - chance)


def conditional(request: float, position: float, every: float) -> float:
    scaled = odds(request) / odds(every) * odds(position)
    return scaled / (1 + scaled)


class PlainAcceptance:
    """Estimates of acceptance."""

    def __init__(self, positions: int, memory: float, request_memory: float) -> None:
        self.positions = positions
        self.memory = memory
        self.request_memory = request_memory
        self.seen = [[0.0, 0.0] for _ in range(positions)]
        self.past = [[0.0, 0.0] for _ in range(positions)]
        self.requests: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.weight = 100.0
        self.calls = 0
        self.sums = [0.0, 0.0]
        self.since = [[[0.0, 0.0] for _ in range(positions)] for _ in range(2)]

    @property
    def chance(self) -> float:
        a, r = (sum(seen[i] for seen in self.seen) for i in (0, 1))
        return min((a + 2) / (a + r + 4), MOST_CHANCE)

    def by_position(self) -> list[float]:
        every = self.chance
        return [min((a + 8 * every) / (a + r + 8), MOST_CHANCE) for a, r in self.seen]

    def of_requests(self, names: Sequence[str]) -> list[float]:
        self.calls += 1
        judged = [(g, b) for g, b in (self.requests[name] for name in names) if g + b >= 4]
        if self.calls % 8 == 0 and len(judged) >= 4:
            self.weight += 0.4 * (likeness(judged) - self.weight)
        own, every = [self.requests[name] for name in names], self.chance
        pulled = [(g + self.weight * every) / (g + b + self.weight) for g, b in own]
        return [min(chance, MOST_CHANCE) for chance in pulled]

    def survival(self, names: Sequence[str], alike: bool) -> list[tuple[int, list[float]]]:
        """Members and survival by position of each class that has any."""
        chances = [self.chance] * len(names) if alike else self.of_requests(names)
        classes: defaultdict[int, list[float]] = defaultdict(list)
        for chance in chances:
            classes[class_of(chance)].append(chance)
        found = []
        for _, members in sorted(classes.items()):
            mean, alive, row = sum(members) / len(members), 1.0, []
            for position in self.by_position():
                alive *= conditional(mean, position, self.chance)
                row.append(alive)
            found.append((len(members), row))
        return found

    def observe(self, names: Sequence[str], drafts: Sequence[int], accepted: Sequence[int]) -> None:
        chances = self.of_requests(names)
        step = [[0.0, 0.0] for _ in range(self.positions)]
        classes: defaultdict[int, list[float]] = defaultdict(list)
        for chance in chances:
            classes[class_of(chance)].append(chance)
        gained, positions, every = [0.0, 0.0], self.by_position(), self.chance
        for chance, had, right in zip(chances, drafts, accepted, strict=True):
            own = classes[class_of(chance)]
            mean = (sum(own) + 0.002) / (len(own) + 0.004)
            expected = [conditional(mean, p, every) for p in positions]
            for place in range(min(right, self.positions)):
                step[place][0] += 1
                for way, scale in enumerate((4, 1 / 4)):
                    q = 1 / (1 + expected[place] * (scale - 1))
                    gained[way] += math.log(scale * q)
            if right < had and right < self.positions:
                step[right][1] += 1
                for way, scale in enumerate((4, 1 / 4)):
                    gained[way] += math.log(1 / (1 + expected[right] * (scale - 1)))
        self._alarm(gained, step)
        judged = sum(map(sum, step))
        for kept, memory in ((self.seen, self.memory), (self.past, 10 * self.memory)):
            keep = max(0.0, 1 - judged / memory)
            for old, new in zip(kept, step, strict=True):
                old[:] = [keep * o + n for o, n in zip(old, new, strict=True)]
        for name, had, right in zip(names, drafts, accepted, strict=True):
            wrong = float(right < had)
            keep = max(0.0, 1 - (right + wrong) / self.request_memory)
            g, b = self.requests[name]
            self.requests[name] = [keep * g + right, keep * b + wrong]

    def recall(self) -> None:
        keep = min(1.0, 8 / max(sum(map(sum, self.past)), 1e-9))
        self.seen = [[keep * a, keep * r] for a, r in self.past]

    def _alarm(self, gained: list[float], step: list[list[float]]) -> None:
        for way in range(2):
            self.sums[way] += gained[way]
            for old, new in zip(self.since[way], step, strict=True):
                old[:] = [o + n for o, n in zip(old, new, strict=True)]
            if self.sums[way] <= 0:
                self.sums[way] = 0.0
                self.since[way] = [[0.0, 0.0] for _ in step]
        if max(self.sums) < 6:
            return
        found = self.since[self.sums.index(max(self.sums))]
        keep = min(1.0, 8 / max(sum(map(sum, self.seen)), 1e-9))
        for old, since, new in zip(self.seen, found, step, strict=True):
            old[:] = [keep * o + s - n for o, s, n in zip(old, since, new, strict=True)]
        for name, (g, b) in self.requests.items():
            self.requests[name] = [0.3 * g, 0.3 * b]
        self.sums = [0.0, 0.0]
        self.since = [[[0.0, 0.0] for _ in step] for _ in range(2)]


def likeness(judged: Sequence[tuple[float, float]]) -> float:
    rates = [g / (g + b) for g, b in judged]
    mean = min(max(sum(rates) / len(rates), 0.002), 0.998)
    coin = mean * (1 - mean)
    scatter = sum((rate - mean) ** 2 for rate in rates) / len(rates)
    between = scatter - coin * sum(1 / (g + b) for g, b in judged) / len(judged)
    return 400.0 if between <= coin / 401 else min(max(coin / between - 1, 6.0), 400.0)


def besides(
    costs: CostModel, known: int, recent: Sequence[int], generated: float
) -> tuple[list[float], list[float]]:
    """What prompts to come cost by a token that requests get: numbers of tokens, and seconds."""
    knots, knots_s = costs.line()
    last = max(float(knots[-2]), 1.0)
    places = sorted({*knots.tolist(), *(last ** (i / 15) for i in range(16))})
    seconds = [0.0] * len(places)
    for tokens in recent:
        for i, place in enumerate(places):
            if tokens > known:
                shared, alone = np.interp((place + tokens, place + known), knots, knots_s)
                seconds[i] += float(shared - alone) / len(recent) / generated
    return places, seconds


def plans(
    costs: CostModel,
    groups: Sequence[tuple[int, Sequence[float]]],
    context: float,
    factors: Sequence[float],
    bound_s: float,
    prompts: Expected,
    fill: float,
) -> list[tuple[float, float]]:
    """Worth and goodput of the best plan of each length, of those that take the likeliest drafts.

    Args:
        groups: members and survival by position of each.
        bound_s: of the time per token.
        prompts: that share the step.
        fill: share of the drafts that the drafter has.
    """
    requests = sum(members for members, _ in groups)
    known = prompts.known
    places = [
        (alive, group, place)
        for group, (_, row) in enumerate(groups)
        for place, alive in enumerate(row)
    ]
    places.sort(key=lambda one: -one[0])
    beside = besides(costs, known, prompts.recent, prompts.generated)

    def target_s(through: float) -> float:
        return factors[1] * float(np.interp(through, *costs.line()))

    def seconds(through: float, tokens: float, length: int) -> float:
        engine, _, of_context, draft = costs.parts(Work(requests, 0, int(context), length))
        to_come = factors[1] * tokens * float(np.interp(through, *beside))
        apart = factors[0] * engine + factors[2] * of_context + factors[3] * draft
        return target_s(through + known) + to_come + apart

    best = []
    for length in range(len(groups[0][1]) + 1):
        had = [0] * len(groups)
        tried = []
        for _, group, place in [(0.0, 0, -1), *places]:
            if place >= length:
                continue
            had[group] += place >= 0
            each = [1 + fill * sum(row[:k]) for k, (_, row) in zip(had, groups, strict=True)]
            members = [m for m, _ in groups]
            tokens = sum(m * e for m, e in zip(members, each, strict=True))
            drafts = fill * sum(m * k for m, k in zip(members, had, strict=True))
            took = seconds(requests + drafts, tokens, length)
            goodput = tokens / (took - target_s(requests + known) + target_s(requests))
            slowest = took / min(each)
            tried.append((goodput if slowest <= bound_s else -slowest, goodput))
        best.append(max(tried, key=lambda one: one[0]))
    return best
