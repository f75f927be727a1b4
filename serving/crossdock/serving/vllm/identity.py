"""What a profile of this engine is kept under. Needs vLLM's configuration, but not vLLM."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from crossdock.serving.turbospec.profile import Key
from crossdock.serving.vllm.contract import CONTRACT


def key_of(config: Any) -> Key:
    """The key of an engine with this ``VllmConfig``."""
    return Key(
        model=_model(config),
        draft=_draft(config.speculative_config),
        hardware=_hardware(config),
        engine=f"vllm {CONTRACT.installed_version()}",
    )


def _model(config: Any) -> str:
    model = config.model_config
    parts = [str(model.model), str(model.dtype).removeprefix("torch.")]
    if model.quantization:
        parts.append(str(model.quantization))
    return " ".join(parts)


def _draft(speculative: Any) -> str:
    if speculative is None:
        return "none"
    name = speculative.model if speculative.model != speculative.method else None
    return f"{speculative.method} {name}" if name else str(speculative.method)


def _hardware(config: Any) -> str:
    """Device and number of devices; of CPUs the threads, too."""
    import torch

    ranks = config.parallel_config.tensor_parallel_size
    if torch.cuda.is_available():
        return f"{ranks} x {torch.cuda.get_device_name()}"
    threads = os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))
    return f"{ranks} x {_cpu()}, {threads} threads"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
