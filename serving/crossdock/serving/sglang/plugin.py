"""The entry point that SGLang finds in an installed crossdock. Nothing here imports it early."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import Any

from crossdock.serving.sglang import speculation
from crossdock.serving.sglang.contract import CONTRACT

VARIABLE = "CROSSDOCK_SGLANG_EP"
TARGET = "sglang.srt.layers.moe.fused_moe_triton.layer.create_moe_dispatcher"
_log = logging.getLogger("sglang.srt.crossdock")


def wanted() -> bool:
    """Whether the user has asked for crossdock in SGLang."""
    return os.environ.get(VARIABLE, "").lower() in ("1", "true")


def general() -> None:
    """For ``sglang.srt.plugins``: hook into what chooses a dispatcher, and what chooses steps."""
    if speculation.wanted():
        speculation.install()
    if not wanted():
        return
    if _refusal() is not None:
        return
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    HookRegistry.register(TARGET, create_dispatcher, HookType.AROUND)


@functools.cache
def _refusal() -> str | None:
    """Why this SGLang is left as it is; said once."""
    reason = CONTRACT.refusal()
    if reason is not None:
        _log.warning("crossdock: %s; SGLang is left as it is", reason)
    return reason


def create_dispatcher(
    original: Callable[..., Any], moe_runner_config: Any, quant_method: Any
) -> Any:
    """SGLang's own dispatcher, but crossdock's where it was told ``--moe-a2a-backend deepep`` for
    experts that take rows as they are.

    Only then does SGLang leave tokens on their ranks; with any other backend it sums afterwards
    what it takes for partial results.
    """
    from sglang.srt.layers.moe import get_moe_a2a_backend, is_tbo_enabled
    from sglang.srt.layers.moe.fused_moe_triton.layer import (
        UnquantizedFusedMoEMethod,
        _get_deepep_comm_group,
    )

    backend = get_moe_a2a_backend()
    if not backend.is_deepep():
        return original(moe_runner_config, quant_method)
    if not isinstance(quant_method, UnquantizedFusedMoEMethod):
        name = type(quant_method).__name__
        _leave(f"moves unquantized rows only, but the experts are those of {name}")
        return original(moe_runner_config, quant_method)
    if is_tbo_enabled():
        _leave("has one dispatch at a time, but --enable-two-batch-overlap needs two")
        return original(moe_runner_config, quant_method)
    from crossdock.serving.sglang.dispatcher import dispatcher_of

    return dispatcher_of(_get_deepep_comm_group(backend), moe_runner_config.num_experts)


@functools.cache
def _leave(reason: str) -> None:
    _log.warning("crossdock %s; SGLang's own dispatcher is used", reason)
