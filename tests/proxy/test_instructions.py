"""What a message costs the proxy in instructions, which callgrind counts the same on every run.

Counted is what runs below ``Proxy::progress``: of the proxy alone, without the stand-in for an
endpoint (``bench/csrc/proxy_cost.h``), and of the proxy with its verbs endpoint, from the ring to
the completion, without the provider (``tests/fake_verbs``).
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
    *PROXY_SOURCES[1:],
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
    program: pathlib.Path, arguments: Sequence[int], environment: Mapping[str, str] | None = None
) -> float:
    """Instructions for each message in the program itself, below ``Proxy::progress``.

    The stand-in for an endpoint does not count, nor do the libraries: the provider is one.
    """
    counts = program.with_suffix(".callgrind")
    subprocess.run(
        [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={counts}",
            "--toggle-collect=crossdock::proxy::Proxy::progress()",
            str(program),
            *map(str, arguments),
        ],
        capture_output=True,
        timeout=200,
        check=True,
        env=os.environ | (environment or {}),
    )
    text = subprocess.run(
        ["callgrind_annotate", "--auto=no", "--threshold=100", str(counts)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    own = 0
    for line in text.splitlines():
        match = re.match(r" *([\d,]+) \(", line)
        if match and line.endswith(f"[{program}]") and "InstantEndpoint" not in line:
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
        pytest.param(1, False, False, 240, id="one-peer"),
        pytest.param(8, False, False, 297, id="eight-peers"),
        pytest.param(8, True, False, 408, id="paced"),
        pytest.param(8, False, True, 90, id="arrivals"),
    ],
)
def test_a_message_costs_few_instructions(
    program: pathlib.Path, peers: int, paced: bool, arrivals: bool, most: int
) -> None:
    arguments = [MESSAGES, BATCH, peers, WRITE_ADD, int(paced), int(arrivals)]
    cost = counted(program, arguments)
    assert cost < most, f"{cost:.0f} instructions a message, the limit is {most}"


@pytest.fixture(scope="module")
def verbs_program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    target = tmp_path_factory.mktemp("cost") / "verbs"
    compile_program("count_verbs_cost", VERBS_SOURCES, target)
    return target


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("peers", "most"), [pytest.param(1, 250, id="one-peer"), pytest.param(8, 505, id="eight-peers")]
)
def test_a_write_costs_few_instructions_over_verbs(
    verbs_program: pathlib.Path, peers: int, most: int
) -> None:
    """All that this side executes for a write: ring, proxy, endpoint, and back."""
    libraries = build_stand_in(ROOT / "build" / "fake_verbs")
    environment = {
        "CROSSDOCK_LIBIBVERBS": str(libraries / "libibverbs.so.1"),
        "CROSSDOCK_LIBEFA": str(libraries / "libefa.so.1"),
    }
    cost = counted(verbs_program, [MESSAGES, BATCH, peers], environment)
    assert cost < most, f"{cost:.0f} instructions a write, the limit is {most}"
