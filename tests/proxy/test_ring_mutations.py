"""The checker of the ring and the counter must find what is wrong in a broken copy of them.

Each mutation replaces one place of the core in a temporary copy, compiles a model test against the
copy, and expects the checker's message. A mutation whose place is gone fails: adapt it to the code.
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
RING = "test_ring_model.cc"
COUNTER = "test_counter.cc"


@dataclasses.dataclass(frozen=True)
class Mutation:
    """``old`` in ``file`` becomes ``new``; ``test`` must then fail with one of ``messages``."""

    name: str
    test: str
    file: str
    old: str
    new: str
    messages: tuple[str, ...]


MIXED_WORDS = "low and high word are of different commands"
PLAIN_RACE = "race: plain data is read while another thread writes it"

MUTATIONS = [
    Mutation(
        "publish-relaxed",
        RING,
        "atomics.h",
        "atomic.store(value, std::memory_order_release);",
        "atomic.store(value, std::memory_order_relaxed);",
        (MIXED_WORDS, PLAIN_RACE),
    ),
    Mutation(
        "observe-relaxed",
        RING,
        "atomics.h",
        "return atomic.load(std::memory_order_acquire);",
        "return atomic.load(std::memory_order_relaxed);",
        (MIXED_WORDS, PLAIN_RACE),
    ),
    Mutation(
        "phase-before-high",
        RING,
        "ring.h",
        "        note(place.high, command.high);\n        publish(place.low, command.low);\n",
        "        publish(place.low, command.low);\n        note(place.high, command.high);\n",
        (MIXED_WORDS,),
    ),
    Mutation(
        "one-credit-too-many",
        RING,
        "ring.h",
        "        return ring_->capacity - std::min",
        "        return ring_->capacity + 1 - std::min",
        ("credits overrun",),
    ),
    Mutation(
        "popped-is-only-noted",
        RING,
        "ring.h",
        "publish(ring_->popped, next);",
        "note(ring_->popped, next);",
        ("is written while another thread uses it",),
    ),
    Mutation(
        "tickets-are-not-claimed",
        RING,
        "ring.h",
        "if (!claim(ring_->reserved, head, head + count)) continue;",
        "note(ring_->reserved, head + count);",
        ("model: ",),
    ),
    Mutation(
        "accumulate-relaxed",
        COUNTER,
        "atomics.h",
        "return atomic.fetch_add(amount, std::memory_order_acq_rel);",
        "return atomic.fetch_add(amount, std::memory_order_relaxed);",
        (PLAIN_RACE,),
    ),
    Mutation(
        "seal-overwrites",
        COUNTER,
        "counter.h",
        "accumulate(word_, seal_word(total));",
        "publish(word_, seal_word(total) | observe(word_));",
        ("ready is 0 when",),
    ),
    Mutation(
        "ready-ignores-the-seal",
        COUNTER,
        "counter.h",
        "return sealed() && arrived() == total();",
        "return arrived() == total();",
        ("ready is 1 when",),
    ),
]


def compiler() -> str:
    """The C++ compiler; there is always one where the core is built."""
    found = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    assert found, "no C++ compiler: install g++ or set CXX"
    return found


def run_model(core: pathlib.Path, test: str, program: pathlib.Path) -> tuple[int, str]:
    """Compiles a model test against the ``proxy/csrc`` below ``core`` and runs its models."""
    source = ROOT / "tests/proxy/csrc" / test
    command = [*compiler().split(), "-std=c++20", "-O1", f"-I{core}", f"-I{ROOT}", str(source)]
    command += ["-o", str(program), "-lgtest_main", "-lgtest", "-pthread"]
    built = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert built.returncode == 0, f"{test} does not compile:\n{built.stderr}"
    done = subprocess.run(
        [program, "--gtest_filter=*Model.*"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


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
    status, output = run_model(tmp_path, mutation.test, tmp_path / "model")
    assert status == 1, f"{mutation.name} was not caught:\n{output}"
    assert any(message in output for message in mutation.messages), output
    assert "in schedule: " in output


@pytest.mark.parametrize("test", [RING, COUNTER])
def test_unbroken_core_passes(test: str, tmp_path: pathlib.Path) -> None:
    status, output = run_model(ROOT, test, tmp_path / "model")
    assert status == 0, output
