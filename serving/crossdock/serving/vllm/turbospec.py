"""Puts the schedulers that control speculation into vLLM, or says why not."""

from __future__ import annotations

import functools
import os
from typing import Any

from crossdock.serving.vllm import metrics
from crossdock.serving.vllm.control import warn
from crossdock.serving.vllm.turbospec_contract import CONTRACT

VARIABLE = "CROSSDOCK_TURBOSPEC"


def wanted() -> bool:
    """Whether the user has asked for the controller."""
    return os.environ.get(VARIABLE, "").lower() in ("1", "true")


@functools.cache
def refusal() -> str | None:
    """Why this vLLM keeps its schedulers; said once."""
    reason = CONTRACT.refusal()
    if reason is not None:
        warn(f"{reason}; vLLM speculates as it would without crossdock")
    return reason


def scheduler_class(asynchronous: bool) -> Any:
    """Ours, or vLLM's own where this vLLM is not one that was tested."""
    if refusal() is not None:
        from vllm.v1.core.sched.async_scheduler import AsyncScheduler
        from vllm.v1.core.sched.scheduler import Scheduler

        return AsyncScheduler if asynchronous else Scheduler
    from crossdock.serving.vllm.scheduler import TurboSpecAsyncScheduler, TurboSpecScheduler

    return TurboSpecAsyncScheduler if asynchronous else TurboSpecScheduler


@functools.cache
def install() -> None:
    """From now on, vLLM takes our scheduler wherever it would take its own.

    ``SchedulerConfig.scheduler_cls`` is left alone: vLLM decides by it on more than the class.
    """
    if refusal() is not None:
        return
    metrics.serve()
    from vllm.config.scheduler import SchedulerConfig

    own = SchedulerConfig.get_scheduler_cls

    @functools.wraps(own)
    def get_scheduler_cls(self: Any) -> Any:
        if self.scheduler_cls is None:
            return scheduler_class(bool(self.async_scheduling))
        chosen = own(self)
        if not hasattr(chosen, "turbospec"):
            warn(f"{VARIABLE} has no effect: the scheduler is {chosen.__name__}")
        return chosen

    SchedulerConfig.get_scheduler_cls = get_scheduler_cls
