"""What a message costs the proxy in instructions, which callgrind counts the same on every run.

Counted is what runs below ``Proxy::progress``, without the stand-in for an endpoint. The figures of
a verbs endpoint come on top; see ``bench/csrc/proxy_cost.h`` for the loop.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MESSAGES = 20_000
BATCH = 16
WRITE_ADD = 1
SOURCES = [
    "bench/csrc/proxy_cost.cc",
    "tests/proxy/csrc/count_proxy_cost.cc",
    *(f"proxy/csrc/{name}.cc" for name in ("proxy", "proxy_life", "proxy_post")),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    assert shutil.which("valgrind"), "install the package valgrind"
    target = tmp_path_factory.mktemp("cost") / "cost"
    compiler = (os.environ.get("CXX") or shutil.which("g++") or "c++").split()
    command = [*compiler, "-std=c++20", "-O3", "-DNDEBUG", f"-I{ROOT}"]
    command += [str(ROOT / source) for source in SOURCES]
    built = subprocess.run(
        [*command, "-o", str(target), "-pthread"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return target


def instructions(program: pathlib.Path, *, peers: int, paced: bool, arrivals: bool) -> float:
    """Instructions for each message in the proxy's own functions."""
    counts = program.with_suffix(".callgrind")
    arguments = [MESSAGES, BATCH, peers, WRITE_ADD, int(paced), int(arrivals)]
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
    cost = instructions(program, peers=peers, paced=paced, arrivals=arrivals)
    assert cost < most, f"{cost:.0f} instructions a message, the limit is {most}"
