"""SGLang's ``--speculative-adaptive`` with our policy in place of its own choice of steps.

SGLang prepares some numbers of draft steps for each size of batch, and asks which of them to take
before each decoding step; it tells how many drafts of each request were accepted when it knows. The
policy chooses freely, and the largest prepared number that is not above its choice is taken. SGLang
tells neither names of requests nor contexts, so all requests are alike here. All ranks of a group
must take the same number, but only one measures its own time: with several, SGLang chooses itself.
"""

from __future__ import annotations

import collections
import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossdock.serving.sglang.speculation_contract import CONTRACT
from crossdock.serving.turbospec.controller import Controller
from crossdock.serving.turbospec.driver import Driver
from crossdock.serving.turbospec.log import DecisionLog
from crossdock.serving.turbospec.settings import Settings
from crossdock.serving.turbospec.step import Batch, Plan, Verified, Work

VARIABLE = "CROSSDOCK_TURBOSPEC"
LOG = "CROSSDOCK_TURBOSPEC_LOG"
_PARAMS = "sglang.srt.speculative.adaptive_spec_params.AdaptiveSpeculativeParams"
_ATTRIBUTE = "crossdock"
_log = logging.getLogger("sglang.srt.crossdock")


def wanted() -> bool:
    """Whether the user has asked for the controller."""
    return os.environ.get(VARIABLE, "").lower() in ("1", "true")


def install() -> None:
    """Hook in, where this SGLang is one that was tested."""
    if refusal() is not None:
        return
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    HookRegistry.register(f"{_PARAMS}.get_steps_for_batch", steps_for_batch, HookType.AROUND)
    HookRegistry.register(f"{_PARAMS}.on_verify_complete", verify_complete, HookType.AROUND)


@functools.cache
def refusal() -> str | None:
    """Why this SGLang chooses for itself; said once."""
    reason = CONTRACT.refusal()
    if reason is not None:
        _warn(f"{reason}; SGLang speculates as it would without crossdock")
    return reason


def steps_for_batch(original: Callable[..., int], params: Any, batch_size: int) -> int:
    """Around ``get_steps_for_batch``: the draft steps of a batch that is about to run."""
    control = _control_of(params)
    if control is None:
        return original(params, batch_size)
    steps = control.steps(batch_size, params._route(batch_size).candidate_steps)
    return original(params, batch_size) if steps is None else steps


def verify_complete(
    original: Callable[..., int | None],
    params: Any,
    num_correct_drafts_per_req: list[int],
    batch_size: int,
) -> int | None:
    """Around ``on_verify_complete``: what was accepted; nothing is switched here."""
    control = _control_of(params)
    if control is None or control.driver.policy is None:
        return original(params, num_correct_drafts_per_req, batch_size)
    control.results(num_correct_drafts_per_req)
    return None


class Control:
    """The driver of one such object."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._under_way: collections.deque[tuple[object, int]] = collections.deque(maxlen=64)

    def steps(self, requests: int, prepared: list[int]) -> int | None:
        """The prepared number that is taken; None: SGLang's own choice."""
        driver = self.driver
        driver.begin()
        plan = driver.plan(Batch(_names(requests), context=0))
        if plan is None:
            return None
        chosen = max((one for one in prepared if one <= plan.draft_length), default=prepared[0])
        taken = Plan(chosen, [chosen] * requests, plan.reason, plan.tokens, plan.seconds)
        key = object()
        driver.scheduled(key, Work(requests, requests * (1 + chosen), 0, chosen), 0, taken)
        self._under_way.append((key, chosen))
        return chosen

    def results(self, accepted: list[int]) -> None:
        """The oldest step that is under way has ended."""
        if not self._under_way:
            return
        key, drafts = self._under_way.popleft()
        count = len(accepted)
        verified = Verified(_names(count), [drafts] * count, [min(one, drafts) for one in accepted])
        busy = bool(self._under_way)
        self.driver.verified(
            key, verified if drafts else Verified(), sum(accepted) + count, busy=busy
        )
        self.driver.end()


def _control_of(params: Any) -> Control | None:
    if not hasattr(params, _ATTRIBUTE):
        setattr(params, _ATTRIBUTE, _made(params))
    control: Control | None = getattr(params, _ATTRIBUTE)
    return control


def _made(params: Any) -> Control | None:
    try:
        ranks = _ranks()
        if ranks > 1:
            reason = f"{ranks} ranks run together, and each would choose by its own clock"
        elif max(params.candidate_steps) < 1:
            reason = "no draft steps are prepared"
        else:
            return Control(_driver(max(params.candidate_steps)))
    except Exception as error:  # noqa: BLE001 - whatever it is, SGLang goes on
        reason = f"{type(error).__name__}: {error}"
    _warn(f"{reason}; SGLang speculates as it would without crossdock")
    return None


def _driver(most: int) -> Driver:
    driver = Driver(
        Controller(most, settings=Settings(per_request=False)), most, _warn, ahead=False
    )
    path = os.environ.get(LOG)
    if path:
        driver.observers.append(DecisionLog(Path(path), most))
    return driver


def _ranks() -> int:
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _names(count: int) -> list[str]:
    return list(map(str, range(count)))


def _warn(text: str) -> None:
    _log.warning("crossdock: %s", text)
