"""The controller: estimates, predicts, chooses and learns, once a step.

After *TurboSpec* (arXiv 2406.14066), with other parts where its own lock themselves out: chances
from judged drafts only, all lengths compared, costs corrected while it runs, a budget for probes,
and a change of length that must pay or last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from crossdock.proxy.errors import ArgumentError
from crossdock.serving.turbospec import core, reasons
from crossdock.serving.turbospec.acceptance import Acceptance
from crossdock.serving.turbospec.chooser import Choices, Chooser, within
from crossdock.serving.turbospec.correction import PROFILED, ROUGH, Correction
from crossdock.serving.turbospec.cost import PARTS, CostModel, rough
from crossdock.serving.turbospec.exploration import Probes
from crossdock.serving.turbospec.fill import Fill
from crossdock.serving.turbospec.learning import Learning
from crossdock.serving.turbospec.prompts import Prompts
from crossdock.serving.turbospec.recall import Recall
from crossdock.serving.turbospec.settings import Settings
from crossdock.serving.turbospec.step import Batch, Plan, Step
from crossdock.serving.turbospec.switch import Switch

MOST_DRAFTS = 64
_LONGEST_STEP_S = 600.0
_AS_PROFILED = (1.0,) * len(PARTS)
_PATIENCE = 16
"""Steps in which one without prompts is waited for, where nothing is known of costs."""


class Controller:
    """A policy in closed loop; no engine is known here, and there is no clock but its steps.

    Args:
        max_draft: the longest length that the drafter was built for.
        costs: of the engine, as profiled; None: they are learnt from the first step on.
        settings: see there.

    Raises:
        ArgumentError: ``max_draft`` is not from 1 to 64.
        CoreMissing: crossdock was installed without its native core.
    """

    def __init__(
        self, max_draft: int, costs: CostModel | None = None, settings: Settings | None = None
    ) -> None:
        if not 1 <= max_draft <= MOST_DRAFTS:
            raise ArgumentError(f"max_draft is {max_draft}, it must be from 1 to {MOST_DRAFTS}")
        core.require()
        self.settings = settings or Settings()
        self.max_draft = max_draft
        self.ignored_steps = 0
        """Steps whose times were no times."""
        self.choices: Choices | None = None
        """What the last plan was chosen from."""
        self.acceptance = Acceptance(max_draft, self.settings.memory, self.settings.request_memory)
        self._switch = Switch(self.settings.switch_gain, self.settings.hold_s)
        self._probes = Probes(max_draft, self.settings.explore)
        self._recall = Recall()
        self._prompts = Prompts()
        self._fill = Fill()
        self._chooser: Chooser | None = None
        self._patience = _PATIENCE
        self._correction: Correction | None = None
        self._costs: CostModel | None = None
        self._learning = Learning(max_draft) if costs is None else None
        if costs is not None:
            self._use(costs, PROFILED)

    def plan(self, batch: Batch) -> Plan:
        """What the next step drafts and verifies; see ``Policy``."""
        if self._chooser is None or not batch.requests:
            nothing = [0] * len(batch.requests)
            return Plan(0, nothing, reasons.START, tokens=0.0, seconds=0.0)
        prompts = self._prompts.expected(batch.prefill)
        if prompts is not None:
            self._chooser.expect(prompts)
        groups = self.acceptance.groups(batch.requests, alike=not self.settings.per_request)
        choices = self._chooser.choices(groups, batch.context, self.factors, self._fill.share)
        self.choices = choices
        length, reason = self._length(choices)
        verify = self._chooser.verify(length, groups)
        tokens, seconds = float(choices.tokens[length]), float(choices.seconds[length])
        urgent = self.acceptance.suspected
        probe = self._probes.probe(length, verify, choices, self._drafts_s(batch), urgent)
        if probe is not None:
            length, reason = probe, reasons.PROBE
        return Plan(length, within(verify, batch.limits), reason, tokens, seconds)

    def observe(self, step: Step) -> None:
        """Learn from a step; a time that is none is counted and ignored."""
        self.acceptance.observe(step.verified)
        self._fill.saw(step)
        self._probes.saw(step.verified)
        self._prompts.saw(step.prefill, step.generated)
        if not 0 < step.seconds < _LONGEST_STEP_S:  # false for NaN too
            self.ignored_steps += 1
            return
        self._switch.pass_by(step.seconds)
        self._probes.pass_by(step.seconds)
        if self._recall.pass_by(step.seconds, self._switch.length) and self.settings.explore > 0:
            self.acceptance.recall()
        if self._correction is None:
            self._guess(step)
        elif self.settings.correct_costs and step.work.tokens > 0:
            self._correction.observe(step.work, step.seconds)
            self._learn(step)

    def forget(self, requests: Iterable[str]) -> None:
        """These requests have ended; unknown ones are ignored."""
        self.acceptance.forget(requests)

    @property
    def factors(self) -> tuple[float, ...]:
        """By how much the parts of the cost model are off, as far as is known."""
        return _AS_PROFILED if self._correction is None else self._correction.factors

    @property
    def regret(self) -> float:
        """The share of predicted goodput that the last plan leaves to the best length."""
        if self.choices is None:
            return 0.0
        goodput = self.choices.goodput
        return float(1 - goodput[self._switch.length] / goodput.max())

    def _guess(self, step: Step) -> None:
        """Costs by a step, if there can be one without prompts, whose length says little."""
        self._patience -= 1
        if self._patience <= 0 or step.prefill == 0 < step.work.requests:
            self._use(rough(step.seconds, step.work.tokens), ROUGH)

    def _learn(self, step: Step) -> None:
        if self._learning is None or self._costs is None:
            return
        if not self._learning.saw(step.work, step.seconds):
            return
        costs = self._learning.costs(self._costs, self.factors)
        if costs is not None:
            self._use(costs, PROFILED)

    def _use(self, costs: CostModel, spread: Sequence[float]) -> None:
        self._costs = costs
        bound = self.settings.time_per_token_s
        self._chooser = Chooser(self.max_draft, costs, bound)
        self._correction = Correction(costs, spread)

    def _drafts_s(self, batch: Batch) -> Callable[[float, int], float]:
        """Seconds that more drafts would cost over a plan that has some."""
        own = len(batch.requests) + batch.prefill

        def seconds(drafts: float, more: int) -> float:
            assert self._chooser is not None
            return self._chooser.token_s(own + drafts, more, self.factors)

        return seconds

    def _length(self, choices: Choices) -> tuple[int, str]:
        worth: list[float] = choices.worth.tolist()  # so few numbers take longer as an array
        broken = min(worth) < 0
        worth[0] *= 1 + self.settings.margin
        best = max(worth)
        if best < 0:
            return self._switch.to(worth.index(best)), reasons.BOUND
        length, held = self._switch.choose([max(w, 0.0) for w in worth] if broken else worth)
        if choices.drafts[length] == 0:  # drafts that nobody would verify
            return 0, reasons.OFF
        if held:
            return length, reasons.HOLD
        if broken and worth[length] < choices.goodput.max():
            return length, reasons.BOUND
        return length, reasons.GOODPUT if length else reasons.OFF
