"""An installed crossdock does nothing to engines that were not asked to use it."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

import pytest

GROUPS = {
    "vllm.platform_plugins": "crossdock.serving.vllm.plugin:platform",
    "vllm.general_plugins": "crossdock.serving.vllm.plugin:general",
    "sglang.srt.plugins": "crossdock.serving.sglang.plugin:general",
}


@pytest.mark.parametrize("group", GROUPS)
def test_entry_point_does_nothing_unless_asked(group: str) -> None:
    (entry,) = importlib.metadata.entry_points(group=group, name="crossdock")
    assert entry.value == GROUPS[group]
    module, function = entry.value.split(":")
    code = (
        f"import sys, {module} as plugin; assert plugin.{function}() is None; "
        "loaded = {'vllm', 'sglang', 'torch'} & set(sys.modules); assert not loaded, loaded"
    )
    asked = ("CROSSDOCK_VLLM_EP", "CROSSDOCK_SGLANG_EP", "CROSSDOCK_TURBOSPEC")
    clean = {name: value for name, value in os.environ.items() if name not in asked}
    subprocess.run([sys.executable, "-c", code], env=clean, timeout=60, check=True)


def test_engine_that_is_not_there_is_one_warning() -> None:
    code = "from crossdock.serving.sglang import plugin; plugin.general(); plugin.general()"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "CROSSDOCK_SGLANG_EP": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stderr.count("SGLang is left as it is") == 1
    assert "unknown" in ran.stderr
