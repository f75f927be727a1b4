"""The entry points that vLLM finds in an installed crossdock. Nothing here imports vLLM early."""

from __future__ import annotations

import functools
import logging
import os
import sys

from crossdock.serving.vllm import turbospec
from crossdock.serving.vllm.contract import CONTRACT

VARIABLE = "CROSSDOCK_VLLM_EP"
PLATFORM = "crossdock.serving.vllm.platform.CrossdockCpuPlatform"
_log = logging.getLogger("vllm.crossdock")


def wanted() -> bool:
    """Whether the user has asked for crossdock in vLLM."""
    return os.environ.get(VARIABLE, "").lower() in ("1", "true")


def platform() -> str | None:
    """For ``vllm.platform_plugins``: the platform that vLLM is to use, None for its own choice."""
    if not wanted() or _builtin_platform() is None:
        return None
    reason = _refusal()
    return PLATFORM if reason is None else None


def general() -> None:
    """For ``vllm.general_plugins``: what can only be seen when the platform has been chosen."""
    if turbospec.wanted():
        turbospec.install()
    if not wanted():
        return
    from vllm.platforms import current_platform

    if current_platform.is_cuda_alike():
        _stand_in_for_deep_ep()
    elif _refusal() is None and type(current_platform).__name__ != PLATFORM.rpartition(".")[2]:
        _warn_once(
            f"vLLM runs on {type(current_platform).__name__}, so {VARIABLE} has no effect; "
            "it is for CpuPlatform, where VLLM_TARGET_DEVICE and VLLM_PLUGINS leave a choice"
        )


def _builtin_platform() -> str | None:
    """The CPU platform that vLLM would choose, if it would choose one."""
    from vllm.platforms import cpu_platform_plugin

    name: str | None = cpu_platform_plugin()
    return name if name == "vllm.platforms.cpu.CpuPlatform" else None


def _stand_in_for_deep_ep() -> None:
    """On GPUs vLLM imports ``deep_ep`` when it is told ``--all2all-backend deepep_...``."""
    if "deep_ep" in sys.modules:
        return
    from crossdock.ep import install_as_deep_ep
    from crossdock.proxy.errors import CrossdockError

    try:
        install_as_deep_ep()
    except CrossdockError as error:
        _warn_once(f"{error}; vLLM uses that one")


@functools.cache
def _refusal() -> str | None:
    """Why this vLLM is left as it is; said once."""
    reason = CONTRACT.refusal()
    if reason is not None:
        _warn_once(f"{reason}; vLLM is left as it is")
    return reason


@functools.cache
def _warn_once(text: str) -> None:
    _log.warning("crossdock: %s", text)
