"""What a message costs the proxy in instructions, which callgrind counts the same on every run.

Counted is what runs below ``Proxy::progress``, without the stand-in for an endpoint
(``bench/csrc/proxy_cost.h``), and what a verbs endpoint adds to it, without its provider.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence

import pytest
from tests.fake_verbs.build import build as build_stand_in

ROOT = pathlib.Path(__file__).resolve().parents[2]
MESSAGES = 20_000
BATCH = 16
WRITE_ADD = 1
PROXY_SOURCES = [
    "bench/csrc/proxy_cost.cc",
    *(f"proxy/csrc/{name}.cc" for name in ("proxy", "proxy_life", "proxy_post")),
]
VERBS_SOURCES = [
    *(
        f"proxy/csrc/transport/verbs/{name}.cc"
        for name in ("link", "queue_pair", "verbs_endpoint", "verbs_endpoint_life")
    ),
    "proxy/csrc/rdma/*.cc",
    "proxy/csrc/shared_memory.cc",
    "proxy/csrc/transport/tcp/socket.cc",
]


def compile_program(name: str, sources: Sequence[str], target: pathlib.Path) -> None:
    assert shutil.which("valgrind"), "install the package valgrind"
    compiler = (os.environ.get("CXX") or shutil.which("g++") or "c++").split()
    command = [*compiler, "-std=c++20", "-O3", "-DNDEBUG", f"-I{ROOT}"]
    for source in [f"tests/proxy/csrc/{name}.cc", *sources]:
        command += [str(path) for path in sorted(ROOT.glob(source))]
    built = subprocess.run(
        [*command, "-o", str(target), "-pthread", "-ldl"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stderr


def counted(
    program: pathlib.Path,
    arguments: Sequence[int],
    collected: str,
    environment: Mapping[str, str] | None = None,
) -> float:
    """Instructions for each message in crossdock's own functions below ``collected``."""
    counts = program.with_suffix(".callgrind")
    subprocess.run(
        [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={counts}",
            f"--toggle-collect={collected}",
            str(program),
            *map(str, arguments),
        ],
        capture_output=True,
        timeout=200,
        check=True,
        env=os.environ | (environment or {}),
    )
    text = subprocess.run(
        ["callgrind_annotate", "--threshold=100", str(counts)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    own = 0
    for line in text.splitlines():
        match = re.match(r" *([\d,]+) \(.*:crossdock::(proxy::|bench::)", line)
        if match and "InstantEndpoint" not in line:
            own += int(match[1].replace(",", ""))
    assert own > 0, text
    return own / MESSAGES


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    target = tmp_path_factory.mktemp("cost") / "cost"
    compile_program("count_proxy_cost", PROXY_SOURCES, target)
    return target


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("peers", "paced", "arrivals", "most"),
    [
        pytest.param(1, False, False, 370, id="one-peer"),
        pytest.param(8, False, False, 450, id="eight-peers"),
        pytest.param(8, True, False, 600, id="paced"),
        pytest.param(8, False, True, 100, id="arrivals"),
    ],
)
def test_a_message_costs_few_instructions(
    program: pathlib.Path, peers: int, paced: bool, arrivals: bool, most: int
) -> None:
    arguments = [MESSAGES, BATCH, peers, WRITE_ADD, int(paced), int(arrivals)]
    cost = counted(program, arguments, "crossdock::proxy::Proxy::progress()")
    assert cost < most, f"{cost:.0f} instructions a message, the limit is {most}"


@pytest.mark.timeout(400)
def test_a_write_costs_a_verbs_endpoint_few_instructions(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Post and completion in the endpoint's own code, without the provider."""
    target = tmp_path_factory.mktemp("cost") / "verbs"
    compile_program("count_verbs_cost", VERBS_SOURCES, target)
    libraries = build_stand_in(ROOT / "build" / "fake_verbs")
    environment = {
        "CROSSDOCK_LIBIBVERBS": str(libraries / "libibverbs.so.1"),
        "CROSSDOCK_LIBEFA": str(libraries / "libefa.so.1"),
    }
    cost = counted(target, [MESSAGES, BATCH], "*post_and_poll*", environment)
    assert cost < 180, f"{cost:.0f} instructions a write, the limit is 180"
