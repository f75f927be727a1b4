"""The tests of flow control must fail on a broken copy of it.

Each mutation replaces one place of a header in a temporary copy and compiles the tests against the
copy. A mutation whose place is gone fails: adapt it to the code. What is lost with a peer
is mutated with the protocol, in ``tests/ep/test_protocol_mutations.py``.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORE = pathlib.PurePath("proxy/csrc")
TEST = ROOT / "tests/proxy/csrc/test_flow_window.cc"


@dataclasses.dataclass(frozen=True)
class Mutation:
    """``old`` in ``file`` becomes ``new``; the test named ``fails`` must then fail."""

    name: str
    file: str
    old: str
    new: str
    fails: str


MUTATIONS = [
    Mutation(
        "never-shrinks",
        "flow_window.h",
        "bytes_ = std::max(std::min(bytes_, peak_) / 2,",
        "bytes_ = std::max(bytes_,",
        "LanePace.FillsThePathAndLittleMore",
    ),
    Mutation(
        "shrinks-below-the-least",
        "flow_window.h",
        "std::min(policy_.least_bytes, limit_));",
        "uint64_t{1});",
        "FlowWindow.ShrinksOnSignsOfCongestionAndNeverBelowTheLeast",
    ),
    Mutation(
        "signs-of-congestion-ignored",
        "flow_window.h",
        "if (congested_ || was_late_) {",
        "if (was_late_) {",
        "FlowWindow.ShrinksOnSignsOfCongestionAndNeverBelowTheLeast",
    ),
    Mutation(
        "window-without-a-limit",
        "flow_window.h",
        "bytes_ = std::min(bytes_, limit_);",
        "",
        "FlowWindow.GrowsOnlyWhileItIsUsedAndUpToTheLimit",
    ),
    Mutation(
        "grows-without-use",
        "flow_window.h",
        "} else if (2 * peak_ >= bytes_) {",
        "} else {",
        "FlowWindow.GrowsOnlyWhileItIsUsedAndUpToTheLimit",
    ),
    Mutation(
        "old-writes-judge-the-new-window",
        "flow_window.h",
        "if (posted_ns < round_ns_) return false;",
        "",
        "FlowWindow.CountsOnlyWhatWasPostedSinceItChanged",
    ),
    Mutation(
        "base-never-ages",
        "base_latency.h",
        "least.before_ns = least.recent_ns;",
        "least.before_ns = std::min(least.before_ns, least.recent_ns);",
        "LanePace.FollowsARouteThatChanges",
    ),
    Mutation(
        "limit-of-all-lanes-ignored",
        "flow.h",
        "return std::min(lane_writes_ - lane.writes, writes_ - in_flight_.writes);",
        "return lane_writes_ - lane.writes;",
        "EndpointFlow.KeepsEveryLimit",
    ),
    Mutation(
        "no-write-alone",
        "flow.h",
        " || (alone && sum.writes == 0);",
        ";",
        "EndpointFlow.AWriteOfAnySizeMayGoAlone",
    ),
    Mutation(
        "bytes-never-given-back",
        "flow.h",
        "        in_flight_.remove(fewer);\n",
        "",
        "EndpointFlow.AWriteOfAnySizeMayGoAlone",
    ),
    Mutation(
        "overdrafts-forgiven",
        "lane_turns.h",
        "credit = std::min<int64_t>(credit, 0) + static_cast<int64_t>(share);",
        "credit = static_cast<int64_t>(share);",
        "LaneTurns.SharesAreFairInBytesWhateverTheSizes",
    ),
    Mutation(
        "lane-starved",
        "lane_turns.h",
        "        leave();\n        add(lane);",
        "        open_ = false;\n        (void)lane;",
        "LaneTurns.SharesAreFairInBytesWhateverTheSizes",
    ),
]


def run_tests(core: pathlib.Path, program: pathlib.Path) -> tuple[int, str]:
    """Compiles the tests against the ``proxy/csrc`` below ``core`` and runs them."""
    found = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    assert found, "no C++ compiler: install g++ or set CXX"
    command = [*found.split(), "-std=c++20", "-O1", f"-I{core}", f"-I{ROOT}", str(TEST)]
    command += ["-o", str(program), "-lgtest_main", "-lgtest", "-pthread"]
    built = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_is_caught(mutation: Mutation, tmp_path: pathlib.Path) -> None:
    shutil.copytree(ROOT / CORE, tmp_path / CORE)
    broken = tmp_path / CORE / mutation.file
    text = broken.read_text()
    assert text.count(mutation.old) == 1, (
        f"{CORE / mutation.file} does not hold exactly once:\n{mutation.old}\n"
        f"adapt the mutation {mutation.name} to the code"
    )
    broken.write_text(text.replace(mutation.old, mutation.new))
    status, output = run_tests(tmp_path, tmp_path / "tests")
    assert status == 1, f"{mutation.name} was not caught:\n{output}"
    assert f"[  FAILED  ] {mutation.fails}" in output, output
