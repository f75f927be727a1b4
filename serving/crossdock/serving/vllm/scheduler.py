"""Schedulers of vLLM that draft and verify what a speculation policy says. Only vLLM loads this.

A plan is made while a step is scheduled. It says how far the drafter goes at the end of that step,
if it can be told, and how many of those drafts each request verifies in the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.request import RequestStatus

from crossdock.serving.turbospec.driver import Driver
from crossdock.serving.turbospec.step import Plan, Verified, Work
from crossdock.serving.vllm import seen
from crossdock.serving.vllm.control import WHOLE, driver_of
from crossdock.serving.vllm.lockstep import Lockstep, needed


class TurboSpecMixin(Scheduler):
    """Goes before a scheduler of vLLM; without a driver it changes nothing."""

    turbospec: Driver | None = None
    """Holds the policy; ``turbospec.use`` changes it while the engine is idle."""
    lockstep: Lockstep | None = None
    """Where ranks must draft the same length."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turbospec = driver_of(self.vllm_config, self.num_spec_tokens)
        self.lockstep = (
            Lockstep(self.num_spec_tokens)
            if self.turbospec is not None and needed(self.vllm_config)
            else None
        )
        if self.turbospec is not None:
            self._whole = self.vllm_config.speculative_config.method in WHOLE
            self._reader = seen.Reader(self, self.num_spec_tokens, RequestStatus.PREEMPTED)
        self._plan: Plan | None = None
        self._planned: Sequence[str] = ()
        """The requests that the plan is for."""

    def schedule(self, throttle_prefills: bool = False) -> Any:
        """A step, which is measured from here if the engine was idle."""
        if self.turbospec is not None:
            self.turbospec.begin()
        return super().schedule(throttle_prefills)

    def _update_after_schedule(self, scheduler_output: Any) -> None:
        if self.turbospec is not None:
            self._turbospec_plan(self.turbospec, scheduler_output)
        if self._plan is not None and not self._whole:
            scheduler_output.num_spec_tokens_to_schedule = self._plan.draft_length
        super()._update_after_schedule(scheduler_output)

    def _turbospec_plan(self, driver: Driver, output: Any) -> None:
        batch = plan = None
        work, prefill = Work(0, output.total_num_scheduled_tokens, 0, 0), 0
        try:
            batch, work, prefill = self._reader.scheduled(output)
            driver.forget(output.finished_req_ids)
            plan = driver.plan(batch)
        except Exception as error:  # noqa: BLE001 - the engine's step goes on
            driver.give_up(error)
        if self.lockstep is not None and output.total_num_scheduled_tokens > 0:
            plan = self.lockstep.plan(driver, batch, plan)
        self._plan = plan
        length = self.num_spec_tokens if plan is None else plan.draft_length
        self._planned = () if batch is None else batch.requests
        work = Work(work.requests, work.tokens, work.context, length)
        driver.scheduled(output, work, prefill, plan)

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """vLLM's own, and the driver is told what became of the drafts."""
        driver = self.turbospec
        if driver is None:
            return super().update_from_output(scheduler_output, model_runner_output)
        verified = Verified()
        try:
            verified = self._reader.verified(scheduler_output, model_runner_output)
        except Exception as error:  # noqa: BLE001
            driver.give_up(error)
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        busy = self.has_unfinished_requests()
        driver.verified(scheduler_output, verified, seen.generated(outputs), busy)
        self._turbospec_results(driver)
        return outputs

    def _turbospec_results(self, driver: Driver) -> None:
        """Results are there; drafts come after them, in ``update_draft_token_ids``."""

    def update_draft_token_ids(self, draft_token_ids: Any) -> None:
        """No request keeps more drafts than it is to verify; then vLLM's own."""
        if self._plan is not None:
            self._reader.cut(draft_token_ids, self._planned, self._plan)
        super().update_draft_token_ids(draft_token_ids)
        if self.turbospec is not None:
            self.turbospec.end()

    def shutdown(self) -> None:
        """vLLM's own, and the log is written to its end."""
        if self.turbospec is not None:
            self.turbospec.close()
        super().shutdown()


class TurboSpecScheduler(TurboSpecMixin, Scheduler):
    """vLLM's scheduler where steps are not scheduled ahead."""


class TurboSpecAsyncScheduler(TurboSpecMixin, AsyncScheduler):
    """vLLM's scheduler where a step is scheduled while the one before it runs.

    The drafts of a request are placeholders then; the worker puts its own in their place.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Shared and never written, as vLLM does with its own.
        self._placeholders = [[-1] * length for length in range(self.num_spec_tokens + 1)]

    def _update_after_schedule(self, scheduler_output: Any) -> None:
        super()._update_after_schedule(scheduler_output)
        if self._plan is None:
            return
        length, requests = scheduler_output.num_spec_tokens_to_schedule, self.requests
        for name, allowed in zip(self._planned, self._plan.verify, strict=True):
            if allowed < length:
                requests[name].spec_token_ids = self._placeholders[allowed]

    def _turbospec_results(self, driver: Driver) -> None:
        driver.end()
