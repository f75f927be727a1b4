"""Schedulers of vLLM that draft and verify what a speculation policy says. Only vLLM loads this.

A plan is made while a step is scheduled. It says how far the drafter goes at the end of that step,
and how many of those drafts each request verifies in the next one.
"""

from __future__ import annotations

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from crossdock.serving.turbospec.driver import Driver
from crossdock.serving.turbospec.step import Plan, Verified
from crossdock.serving.vllm import seen
from crossdock.serving.vllm.control import driver_of


class TurboSpecMixin(Scheduler):
    """Goes before a scheduler of vLLM; without a driver it changes nothing."""

    turbospec: Driver | None
    """Holds the policy; ``turbospec.use`` changes it while the engine is idle."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turbospec = driver_of(self.vllm_config, self.num_spec_tokens)
        self._plan: Plan | None = None
        self._allowed: dict[str, int] = {}

    def schedule(self, throttle_prefills: bool = False) -> Any:
        """A step, which is measured from here if the engine was idle."""
        if self.turbospec is not None:
            self.turbospec.begin()
        return super().schedule(throttle_prefills)

    def _update_after_schedule(self, scheduler_output: Any) -> None:
        if self.turbospec is not None:
            self._turbospec_plan(self.turbospec, scheduler_output)
        if self._plan is not None:
            scheduler_output.num_spec_tokens_to_schedule = self._plan.draft_length
        super()._update_after_schedule(scheduler_output)

    def _turbospec_plan(self, driver: Driver, scheduler_output: Any) -> None:
        self._plan = None
        try:
            batch, work, prefill = seen.scheduled(self, scheduler_output, driver.max_draft)
            driver.forget(scheduler_output.finished_req_ids)
            plan = self._plan = driver.plan(batch)
            self._allowed = dict(zip(batch.requests, plan.verify, strict=True)) if plan else {}
            draft_length = self.num_spec_tokens if plan is None else plan.draft_length
            work = seen.with_draft(work, draft_length)
            driver.scheduled(scheduler_output, work, prefill, plan)
        except Exception as error:  # noqa: BLE001 - the engine's step goes on
            driver.give_up(error)

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> Any:
        """vLLM's own, and the driver is told what became of the drafts."""
        driver = self.turbospec
        if driver is None:
            return super().update_from_output(scheduler_output, model_runner_output)
        verified = Verified()
        try:
            verified = seen.verified(self, scheduler_output, model_runner_output)
        except Exception as error:  # noqa: BLE001
            driver.give_up(error)
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        generated = sum(
            len(output.new_token_ids) for part in outputs.values() for output in part.outputs
        )
        driver.verified(scheduler_output, verified, generated, self.has_unfinished_requests())
        self._turbospec_results(driver)
        return outputs

    def _turbospec_results(self, driver: Driver) -> None:
        """Results are there; drafts come after them, in ``update_draft_token_ids``."""

    def update_draft_token_ids(self, draft_token_ids: Any) -> None:
        """vLLM's own, then no request keeps more drafts than it is to verify."""
        super().update_draft_token_ids(draft_token_ids)
        if self.turbospec is None:
            return
        if self._plan is not None:
            for name in draft_token_ids.req_ids:
                request = self.requests.get(name)
                if request is not None:
                    allowed = self._allowed.get(name, self._plan.draft_length)
                    if len(request.spec_token_ids) > allowed:
                        request.spec_token_ids = request.spec_token_ids[:allowed]
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
        for name, allowed in self._allowed.items():
            request = self.requests[name]
            if len(request.spec_token_ids) > allowed:
                request.spec_token_ids = self._placeholders[allowed]

    def _turbospec_results(self, driver: Driver) -> None:
        driver.end()
