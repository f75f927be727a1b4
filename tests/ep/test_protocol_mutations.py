"""The simulated network must find what is wrong in a broken copy of the protocol.

Each mutation replaces one place of the core in a temporary copy, compiles what depends on it, and
runs simulated rounds: they must fail with a finding, not with a crash. The copy without a mutation
must pass. A mutation whose place is gone fails: adapt it to the code.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROXY_SOURCES = [
    *(
        f"proxy/csrc/{name}.cc"
        for name in ("communicator", "heap", "proxy", "proxy_life", "proxy_post", "shared_memory")
    ),
    *(f"proxy/csrc/transport/sim/{name}.cc" for name in ("endpoint", "faults", "network")),
    *(f"proxy/csrc/transport/sim/{name}.cc" for name in ("network_trouble", "profiles")),
    *(f"tests/proxy/csrc/sim_{name}.cc" for name in ("seeds", "traffic")),
]
EP_SOURCES = [
    *(f"ep/csrc/{name}.cc" for name in ("layout", "low_latency_combine", "low_latency_dispatch")),
    *(f"ep/csrc/{name}.cc" for name in ("normal_combine", "normal_dispatch", "watch")),
    "ep/csrc/kernels/kernels.cc",
    *(f"tests/ep/csrc/sim_{name}.cc" for name in ("cluster", "low_latency", "normal", "program")),
]
TESTS = [
    *(f"tests/ep/csrc/test_sim_{name}.cc" for name in ("epochs", "losses", "rounds")),
    *(f"tests/proxy/csrc/test_sim_{name}.cc" for name in ("profiles", "sequenced")),
]
SEEDS = 3000
# Half a minute where nothing else runs, but it compiles a lot, and machines may be busy.
pytestmark = pytest.mark.timeout(500)
INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Mutation:
    """``old`` in ``file`` becomes ``new``; the tests that match ``tests`` must then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str = "SimRounds.*"


PROXY = "proxy/csrc/proxy.cc"
POST = "proxy/csrc/proxy_post.cc"
TRAFFIC = "All/SimProfiles.NothingIs*"
DISPATCH = "ep/csrc/normal_dispatch.cc"
LOW_LATENCY = "ep/csrc/low_latency_dispatch.cc"

MUTATIONS = [
    Mutation(
        "seal-ignored",
        "proxy/csrc/counter.h",
        "return sealed() && arrived() == total();",
        "return arrived() > 0;",
    ),
    Mutation(
        "seal-of-tokens-ignored",
        LOW_LATENCY,
        "return device_.counter(peer, index).read().ready();",
        "return device_.counter(peer, index).read().arrived() > 0;",
        "SimRounds.Mixed",
    ),
    Mutation(
        "span-of-numbers-not-bounded",
        POST,
        "return order_of(flight).acknowledged.room(sequences_[index_of(flight.write.cookie)]) > 0;",
        "return true;",
        "SimSequenced.*",
    ),
    Mutation(
        "window-half-of-what-is-in-flight",
        "proxy/csrc/proxy.h",
        ": acknowledged(1u << (sequence_bits - 1)), window(sequence_bits) {}",
        ": acknowledged(1u << sequence_bits), window(sequence_bits) {}",
        "SimSequenced.*",
    ),
    Mutation(
        "signal-not-held-back",
        "proxy/csrc/sequence_window.h",
        "entry = {signal, true};",
        "entry = {signal, true}; entries_[next_ & (mask_ >> 1)].arrived = true;",
        "SimSequenced.*",
    ),
    Mutation(
        "addition-to-the-wrong-rank",
        PROXY,
        "uint64_t{context_.rank} * context_.num_counters + command.counter();",
        "command.counter();",
        TRAFFIC + "rc",
    ),
    Mutation(
        "seal-added-as-a-number",
        PROXY,
        "? Counter::seal_word(command.value())",
        "? Counter::add_word(command.value())",
        TRAFFIC + "rc",
    ),
    Mutation(
        "addition-and-a-word-to-the-proxy",
        PROXY,
        "    op.has_immediate = false;\n    op.to_counter = true;",
        "    op.to_counter = true;",
        TRAFFIC + "rc",
    ),
    Mutation(
        "bytes-of-a-lost-peer-forgotten",
        PROXY,
        "if (lane.outlet != nullptr) settle(lane, lane.in_flight);",
        "if (lane.outlet != nullptr && !lane.shut) settle(lane, lane.in_flight);",
        TRAFFIC + "dying_peer",
    ),
    Mutation(
        "epoch-ignored",
        PROXY,
        "if (immediate.epoch != (epoch_ & ImmediateLayout::mask(schema::kEpochBits))) {",
        "if (immediate.epoch > ImmediateLayout::mask(schema::kEpochBits)) {",
        "SimEpochs.*",
    ),
    Mutation(
        "fence-by-guess",
        POST,
        "if (outlet.guarantees.completes_on_post) complete(",
        "complete(",
    ),
    Mutation(
        "repeated-arrivals-counted",
        PROXY,
        "if (may_repeat && event.cookie <= order.last_arrival) {",
        "if (may_repeat && event.cookie < order.last_arrival) {",
    ),
    Mutation(
        "repeated-completions-believed",
        PROXY,
        "if (flight.done() || flight.write.cookie != event.cookie) [[unlikely]] {",
        "if (flight.done()) [[unlikely]] {",
    ),
    Mutation(
        "order-of-completions-ignored",
        PROXY,
        "outlet.guarantees.acknowledges_in_order ? lane.oldest : &flight;",
        "&flight;",
        TRAFFIC + "rc",
    ),
    Mutation(
        "order-of-completions-presumed",
        PROXY,
        "outlet.guarantees.acknowledges_in_order ? lane.oldest : &flight;",
        "lane.oldest;",
        TRAFFIC + "srd",
    ),
    Mutation(
        "credits-ignored",
        LOW_LATENCY,
        'co_await device_.collect("credits", all, kCreditCounter + (round & 1), 1);',
        "{}",
        "SimRounds.Mixed",
    ),
    Mutation(
        "one-copy-of-control-messages",
        "ep/csrc/control.h",
        "(round & 1)) * num_ranks_ + peer;",
        "0u * round) * num_ranks_ + peer;",
    ),
    Mutation(
        "forwarding-bits-changed-under-way",
        DISPATCH,
        "            co_await device_.fence();\n            for (uint32_t t",
        "            for (uint32_t t",
    ),
    Mutation(
        "epoch-begun-while-writes-are-under-way",
        "tests/ep/csrc/sim_cluster.cc",
        "    drain();\n",
        "",
        "SimEpochs.*",
    ),
    Mutation(
        "signs-of-life-unheard",
        "ep/csrc/sign_of_life.h",
        "now - heard_[peer].at < timeout_ / 2;",
        "now < heard_[peer].at;",
        "SimLosses.*",
    ),
    Mutation(
        "masked-without-more-time",
        "ep/csrc/watch.h",
        "kExtensions = 3;",
        "kExtensions = 0;",
        "SimLosses.*",
    ),
]


def compiler() -> list[str]:
    """The C++ compiler; there is always one where the core is built."""
    found = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    assert found, "no C++ compiler: install g++ or set CXX"
    return found.split()


class Workshop:
    """A copy of the core and the simulated tests, and objects by what they were made from."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.root = folder
        self._objects = folder / "objects"
        self._objects.mkdir()
        for part in ("proxy/csrc", "ep/csrc", "tests/proxy/csrc", "tests/ep/csrc"):
            shutil.copytree(ROOT / part, folder / part)

    def build(self, tests: str) -> pathlib.Path:
        """Compiles what ``tests`` need and is not compiled yet, and links it into one program."""
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            objects = list(pool.map(self._object, self._units(tests)))
        program = self.root / "simulation"
        libraries = ["-lgtest_main", "-lgtest", "-pthread"]
        self._call([*compiler(), *map(str, objects), "-o", str(program), *libraries])
        return program

    def run(self, program: pathlib.Path, tests: str, seeds: int) -> tuple[int, str]:
        """Exit status and output of the tests."""
        done = subprocess.run(
            [program, f"--gtest_filter={tests}", "--gtest_brief=1"],
            env={**os.environ, "CROSSDOCK_SIM_SEEDS": str(seeds)},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def _units(self, tests: str) -> list[tuple[str, str]]:
        """Sources with flags of theirs: the tests of the suite that is named, or all of them."""
        suite = re.search(r"\w+(?=\.)", tests)
        chosen = [
            source
            for source in TESTS
            if suite is None or f"({suite[0]}, " in (self.root / source).read_text()
        ]
        assert chosen, f"no source defines the tests {tests}"
        units = [(source, "") for source in (*PROXY_SOURCES, *chosen)]
        if not any(source.startswith("tests/ep/") for source in chosen):
            return units
        units += [(source, "") for source in EP_SOURCES]
        for isa, flags in (
            ("generic", ""),
            ("avx2", "-mavx2 -mfma -mf16c"),
            ("avx512", "-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq"),
        ):
            if isa == "generic" or os.uname().machine in ("x86_64", "amd64"):
                units.append(("ep/csrc/kernels/kernels_isa.cc", f"-DCROSSDOCK_ISA={isa} {flags}"))
        return units

    def _object(self, unit: tuple[str, str]) -> pathlib.Path:
        source, flags = unit
        digest = hashlib.sha256(flags.encode())
        for name in sorted(self._closure(source)):
            digest.update(name.encode() + (self.root / name).read_bytes())
        target = self._objects / f"{pathlib.Path(source).stem}-{digest.hexdigest()[:20]}.o"
        if not target.exists():
            options = ["-std=c++20", "-O1", "-ffp-contract=off", f"-I{self.root}", *flags.split()]
            path = str(self.root / source)
            self._call([*compiler(), *options, "-c", path, "-o", str(target)])
        return target

    def _closure(self, source: str) -> set[str]:
        """The file and all files of the copy that it includes, directly or not."""
        found = {source}
        new = [source]
        while new:
            for name in INCLUDE.findall((self.root / new.pop()).read_text()):
                if name not in found and (self.root / name).is_file():
                    found.add(name)
                    new.append(name)
        return found

    def _call(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("mutations"))


def test_unbroken_protocol_passes(workshop: Workshop) -> None:
    status, output = workshop.run(workshop.build("*"), "*", SEEDS // 10)
    assert status == 0, output


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_mutation_is_caught(mutation: Mutation, workshop: Workshop) -> None:
    broken = workshop.root / mutation.file
    whole = broken.read_text()
    assert whole.count(mutation.old) == 1, (
        f"{mutation.file} does not hold exactly once:\n{mutation.old}\n"
        f"adapt the mutation {mutation.name} to the code"
    )
    try:
        broken.write_text(whole.replace(mutation.old, mutation.new))
        program = workshop.build(mutation.tests)
    finally:
        broken.write_text(whole)
    status, output = workshop.run(program, mutation.tests, SEEDS)
    assert status == 1, f"{mutation.name} was not caught, or has crashed: {status}\n{output}"
    assert "finding: seed " in output, output
