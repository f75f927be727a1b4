"""The length of drafts where vLLM's data-parallel ranks run their passes together.

``turbospec/agreement.py`` says how ranks agree. Here is what of vLLM it takes: a turn is a
scheduled step that has tokens, or a dummy batch. The drafter of a dummy batch, and of a step that
is too long for the draft model, runs as many passes as its last draft had; it is made to run those
that were agreed instead. Until all ranks are known to take part, the length is the longest one, as
vLLM's own is.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from crossdock.serving.turbospec import agreement, reasons
from crossdock.serving.turbospec.agreement import Agreement, Ballot, Board
from crossdock.serving.turbospec.driver import Driver
from crossdock.serving.turbospec.step import Batch, Plan
from crossdock.serving.vllm.control import MODELS, WHOLE, warn

_READY = -1
_READY_S = 60.0


def needed(config: Any) -> bool:
    """Whether ranks would wait for each other for ever if they drafted different lengths."""
    speculative = config.speculative_config
    together = config.parallel_config.data_parallel_size > 1
    return (
        together
        and speculative is not None
        and speculative.method in MODELS
        and speculative.method not in WHOLE
    )


class Lockstep:
    """A rank's length of drafts: the longest, until ``join``."""

    def __init__(self, max_draft: int) -> None:
        self.max_draft = max_draft
        self._agreement: Agreement | None = None
        self._executor: Any = None
        self._length = max_draft

    def join(self, core: Any) -> None:
        """Agree from now on, if all ranks do; all of them call this before their first turn."""
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]

        store = PrefixStore("crossdock_turbospec", core.dp_store)
        board = Board(store, core.dp_rank, core.dp_size)
        reason = _refusal(core)
        try:
            if reason is None:
                core.model_executor.collective_rpc(follow)
            board.leave(_READY, "no" if reason else "yes", outdated=-1)
            ready = [data == b"yes" for data in board.read(_READY, _READY_S)]
            if reason is None and not all(ready):
                reason = f"ranks {[rank for rank, yes in enumerate(ready) if not yes]} do not"
        except Exception as error:  # noqa: BLE001 - the longest length is safe
            reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            warn(f"ranks do not agree on a length, all draft {self.max_draft} tokens: {reason}")
            return
        lag = core.vllm_config.max_concurrent_batches
        self._agreement = Agreement(board, self.max_draft, lag)
        self._executor = core.model_executor

    def idle(self) -> None:
        """A dummy batch is about to run."""
        self._turn(None)

    def plan(self, driver: Driver, batch: Batch | None, plan: Plan | None) -> Plan:
        """What this rank does of its plan, in a step that is about to run."""
        requests = 0 if batch is None else len(batch.requests)
        length = self._turn(_ballot(driver, requests, plan))
        if plan is None:
            return Plan(length, [length] * requests, reasons.AGREED, 0.0, 0.0)
        if length == plan.draft_length:
            return plan
        verify = [min(length, one) for one in plan.verify]
        tokens = seconds = 0.0
        choices = getattr(driver.policy, "choices", None)
        if choices is not None:
            tokens, seconds = float(choices.tokens[length]), float(choices.seconds[length])
        return dataclasses.replace(
            plan,
            draft_length=length,
            verify=verify,
            reason=reasons.AGREED,
            tokens=tokens,
            seconds=seconds,
        )

    def _turn(self, ballot: Ballot | None) -> int:
        if self._agreement is None:
            return self._length
        try:
            length = self._agreement.turn(ballot)
        except Exception as error:  # noqa: BLE001 - it stays at what was agreed last
            warn(f"ranks agree no more, {self._length} tokens are drafted from now on: {error}")
            return self._length
        if length != self._length:
            self._length = length
            # It arrives before the pass does: the executor keeps the order.
            self._executor.collective_rpc(functools.partial(set_length, length=length))
        return length


def _ballot(driver: Driver, requests: int, plan: Plan | None) -> Ballot | None:
    if requests == 0 or plan is None or plan.reason == reasons.START:
        return None
    choices = getattr(driver.policy, "choices", None)
    if choices is None:
        return agreement.vote(driver.max_draft, plan.draft_length, requests)
    probe = plan.draft_length if plan.reason == reasons.PROBE else 0
    return Ballot(choices.tokens.tolist(), choices.seconds.tolist(), probe)


def _refusal(core: Any) -> str | None:
    config = core.vllm_config
    if config.use_v2_model_runner:
        return "vLLM's second model runner drafts in dummy batches as it likes"
    if config.parallel_config.enable_elastic_ep:
        return "the number of ranks may change"
    return None


def follow(worker: Any) -> None:
    """In a worker: let its drafter run the passes in dummy batches that ``set_length`` says."""
    drafter = worker.model_runner.drafter
    own = drafter.dummy_run

    @functools.wraps(own)
    def dummy_run(*args: Any, **kwargs: Any) -> Any:
        # A real draft of no tokens has one pass too, for the sake of the drafter's cache.
        drafter.num_speculative_tokens = max(1, drafter.crossdock_length)
        return own(*args, **kwargs)

    drafter.crossdock_length = drafter.num_speculative_tokens
    drafter.dummy_run = dummy_run


def set_length(worker: Any, length: int) -> None:
    """In a worker: what was agreed for the passes that follow."""
    worker.model_runner.drafter.crossdock_length = length


@functools.cache
def install() -> None:
    """From now on, vLLM's engines join, and count their dummy batches."""
    from vllm.v1.engine.core import DPEngineCoreProc, EngineCore

    loop, dummy = DPEngineCoreProc.run_busy_loop, EngineCore.execute_dummy_batch

    @functools.wraps(loop)
    def run_busy_loop(self: Any) -> Any:
        lockstep = getattr(self.scheduler, "lockstep", None)
        if lockstep is not None:
            lockstep.join(self)
        return loop(self)

    @functools.wraps(dummy)
    def execute_dummy_batch(self: Any) -> Any:
        lockstep = getattr(self.scheduler, "lockstep", None)
        if lockstep is not None:
            lockstep.idle()
        return dummy(self)

    DPEngineCoreProc.run_busy_loop = run_busy_loop
    EngineCore.execute_dummy_batch = execute_dummy_batch
