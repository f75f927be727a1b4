"""What the plug-in rests on is there in the installed vLLM, and what it makes up for is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.serving.engines.server import ROOT, environment

from crossdock.serving.vllm.contract import CONTRACT

_PLATFORM = "from vllm.platforms import current_platform as p; print(type(p).__name__)"
_UNASKED = """
from vllm.platforms import current_platform as p; print(type(p).__name__)
from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator as c
print([name in vars(c) for name in ("all_gatherv", "reduce_scatterv")])
from crossdock.serving.vllm import plugin
plugin._stand_in_for_deep_ep()
from vllm.utils.import_utils import has_deep_ep
import deep_ep
from crossdock.ep import Buffer
print(has_deep_ep() and deep_ep.Buffer is Buffer)
"""


def printed(code: str, **variables: str) -> list[str]:
    """The lines of a program of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(**variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return ran.stdout.splitlines() + ran.stderr.splitlines()


def test_installed_version_is_one_that_was_tested() -> None:
    assert CONTRACT.installed_version() == "0.32.0"
    assert CONTRACT.refusal() is None


@pytest.fixture(scope="module")
def unasked() -> list[str]:
    """What a vLLM prints that was not asked to use crossdock."""
    return printed(_UNASKED)


def test_platform_is_vllms_own_unless_asked(unasked: list[str]) -> None:
    assert "CpuPlatform" in unasked


def test_platform_is_ours_when_asked() -> None:
    assert "CrossdockCpuPlatform" in printed(_PLATFORM, CROSSDOCK_VLLM_EP="1")


def test_an_unknown_version_is_left_as_it_is_with_one_warning() -> None:
    code = f"""
import dataclasses
from crossdock.serving.vllm import plugin
plugin.CONTRACT = dataclasses.replace(plugin.CONTRACT, oldest=(0, 99), beyond=(1, 0))
{_PLATFORM}
"""
    lines = printed(code, CROSSDOCK_VLLM_EP="1")
    assert "CpuPlatform" in lines
    said = [line for line in lines if "vLLM is left as it is" in line]
    assert len(said) == 1
    assert "0.32.0" in said[0]


def test_vllm_takes_crossdock_for_deep_ep(unasked: list[str]) -> None:
    """On GPUs ``--all2all-backend deepep_high_throughput`` is the way."""
    assert "True" in unasked


def test_vllms_own_path_between_cpu_ranks_lacks_its_collectives(unasked: list[str]) -> None:
    """When this fails, vLLM can do by itself what ``generate.py`` gives it for comparison."""
    assert "[False, False]" in unasked
