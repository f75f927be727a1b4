"""What a step lasts in truth: the policy never sees this, only what it comes to.

The target is bound by memory (weights are read once, whatever the number of tokens) or by compute
(a slope); reading the KV cache, communication, the host and the drafter come on top. A step runs
the smallest captured graph that holds its tokens, so its length rises in stairs.
"""

from __future__ import annotations

import bisect
import dataclasses

from crossdock.serving.turbospec.step import Work

GRAPHS = (1, 2, 4, *range(8, 257, 8), *range(272, 513, 16))
"""Numbers of tokens that graphs are captured for; the default of vLLM."""


@dataclasses.dataclass(frozen=True, slots=True)
class Experts:
    """Weights of which a step reads only what its tokens are routed to."""

    count: int
    """Experts of a layer."""
    chosen: int
    """Experts that each token is routed to."""
    seconds: float
    """To read all of them."""

    def read(self, tokens: int) -> float:
        """Seconds to read what so many tokens touch, in the mean, where routing is even."""
        untouched = (1 - self.chosen / self.count) ** tokens
        return self.seconds * (1 - untouched)


@dataclasses.dataclass(frozen=True, slots=True)
class Drafter:
    """What drafts cost. All in seconds."""

    each_pass: float
    """A pass of the drafter's model, one for each token that it proposes."""
    per_token: float
    """For each token of a pass; the first takes all tokens of the step, others one a request."""
    keeps_state: bool
    """One pass is run though nothing is proposed, so that its KV cache stays in step."""
    per_request: float = 0.0
    """Work of the host for each request, if anything is proposed."""
    once: float = 0.0
    """Work of the host, if anything is proposed."""

    def seconds(self, work: Work) -> float:
        """At the end of a step."""
        if work.draft_length == 0:
            return self.each_pass + self.per_token * work.tokens if self.keeps_state else 0.0
        first = self.each_pass + self.per_token * work.tokens
        others = self.each_pass + self.per_token * work.requests
        host = self.once + self.per_request * work.requests
        return first + (work.draft_length - 1) * others + host


@dataclasses.dataclass(frozen=True, slots=True)
class TrueCost:
    """The length of a step in seconds, from what it does."""

    fixed: float
    """Launch, host, latency of communication."""
    per_request: float
    """Scheduling and sampling of a decoding request."""
    weights: float
    """To read the weights that every step reads."""
    compute: float
    """Arithmetic of a token; hidden behind reading the weights until it takes longer."""
    per_token: float
    """Communication and activations of a token; never hidden."""
    per_context: float
    """To read a token of the KV cache."""
    drafter: Drafter
    experts: Experts | None = None
    graphs: tuple[int, ...] = GRAPHS
    """Ascending; empty: every number of tokens runs as it is."""
    eager: float = 0.0
    """What a step lasts longer that no graph holds."""

    def seconds(self, work: Work) -> float:
        """Of a step, without noise; 0 tokens last as long as 1."""
        tokens, eager = self.padded(work.tokens)
        memory = self.weights
        if self.experts is not None:
            memory += self.experts.read(tokens)
        target = max(memory, self.compute * tokens) + self.per_token * tokens
        host = self.fixed + self.per_request * work.requests
        return target + host + eager + self.per_context * work.context + self.drafter.seconds(work)

    def padded(self, tokens: int) -> tuple[int, float]:
        """Tokens that the step runs with, and what it lasts longer without a graph."""
        place = bisect.bisect_left(self.graphs, tokens)
        if place < len(self.graphs):
            return self.graphs[place], 0.0
        return max(1, tokens), self.eager if self.graphs else 0.0

    def scaled(self, **factors: float) -> TrueCost:
        """The same with some of its parts longer or shorter: ``scaled(weights=1.3, drafter=0.7)``.

        Raises:
            KeyError: a part that there is not.
        """
        parts: dict[str, float | Drafter | Experts] = {}
        for name, factor in factors.items():
            if name == "drafter":
                parts[name] = scaled_drafter(self.drafter, factor)
            elif name not in PARTS:
                raise KeyError(name)
            else:
                parts[name] = getattr(self, name) * factor
        if self.experts is not None and "weights" in factors:
            seconds = self.experts.seconds * factors["weights"]
            parts["experts"] = dataclasses.replace(self.experts, seconds=seconds)
        return dataclasses.replace(self, **parts)  # type: ignore[arg-type]


PARTS = ("fixed", "per_request", "weights", "compute", "per_token", "per_context", "drafter")
"""What ``TrueCost.scaled`` knows."""


def scaled_drafter(drafter: Drafter, factor: float) -> Drafter:
    """One whose times are all so many times as long."""
    return dataclasses.replace(
        drafter,
        each_pass=drafter.each_pass * factor,
        per_token=drafter.per_token * factor,
        per_request=drafter.per_request * factor,
        once=drafter.once * factor,
    )
