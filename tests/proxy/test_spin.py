"""The spin models of the protocol hold in every state, and notice what is broken."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest

MODELS = pathlib.Path(__file__).resolve().parent / "spin"
DEPTH = 100_000

BROKEN = [
    ("ring", "PHASE_FIRST"),
    ("ring", "ONE_CREDIT_MORE"),
    ("ring", "NO_CLAIM"),
    ("ring", "PHASE_CONSTANT"),
    ("counter", "SEAL_IGNORED"),
    ("counter", "NO_SEALED_BIT"),
    ("counter", "EPOCH_IGNORED"),
    ("counter", "FENCE_BY_GUESS"),
    ("counter", "SEAL_SETS"),
    ("sequence", "SPAN_NOT_BOUNDED"),
    ("sequence", "WINDOW_TOO_LARGE"),
    ("sequence", "SIGNAL_NOT_HELD"),
    ("sequence", "POPPED_IS_POSTED"),
    ("epoch", "NO_FENCE"),
    ("epoch", "NO_BARRIER"),
    ("epoch", "NO_MEETING"),
    ("epoch", "COUNTERS_KEPT"),
    ("teardown", "GONE_FIRST"),
    ("teardown", "ONE_FAREWELL"),
    ("teardown", "FLIGHTS_KEPT"),
    ("teardown", "GIVE_UP_BY_WORD"),
    ("teardown", "WAITER_NOT_RELEASED"),
    ("mend", "NO_DRAIN"),
    ("mend", "NO_TRIM"),
    ("mend", "TIE_UNBROKEN"),
    ("mend", "GENERATION_IGNORED"),
    ("mend", "UP_TOO_EARLY"),
    ("mend", "NO_TAKE_DOWN"),
]
HOLDING = sorted({model for model, _ in BROKEN})
# Nobody has posted towards side 1 when it gives in to the path that side 0 has chosen.
NEVER_REACHED = {"mend": ["wire[((1*2)+heard_path)].under_way?_,_"]}


def tool(name: str) -> str:
    """The path of a program that these tests cannot do without."""
    found = shutil.which(name)
    assert found, f"{name} is not installed; the models need it (Debian: apt-get install {name})"
    return found


def verify(model: str, folder: pathlib.Path, *defines: str) -> tuple[int, str]:
    """Searches all states of a model; the number of errors, and what the verifier said."""
    run(tool("spin"), "-a", *(f"-D{name}" for name in defines), f"{MODELS / model}.pml", at=folder)
    run(tool("gcc"), "-O1", "-w", "-DSAFETY", "pan.c", "-o", "pan", at=folder)
    output = run("./pan", f"-m{DEPTH}", at=folder)
    errors = re.search(r"errors: (\d+)", output)
    assert errors, output
    return int(errors[1]), output


def run(*command: str, at: pathlib.Path) -> str:
    """Runs a program, which must succeed; its output."""
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, timeout=60, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{output}"
    return output


def unreached(output: str) -> list[str]:
    """The statements that no state of the search has reached, ends and alarms aside."""
    lines = re.findall(r'pml:\d+, state \d+, "(.*)"', output)
    return [line for line in lines if line not in ("-end-", "assert(0)")]


@pytest.mark.parametrize("model", HOLDING)
def test_holds_in_every_state(model: str, tmp_path: pathlib.Path) -> None:
    errors, output = verify(model, tmp_path)
    assert errors == 0, output
    assert "max search depth too small" not in output
    assert "Search not completed" not in output
    assert unreached(output) == NEVER_REACHED.get(model, [])


@pytest.mark.parametrize(("model", "mutation"), BROKEN)
def test_broken_variant_is_caught(model: str, mutation: str, tmp_path: pathlib.Path) -> None:
    assert mutation in (MODELS / f"{model}.pml").read_text()
    errors, output = verify(model, tmp_path, mutation)
    assert errors > 0, f"{mutation} was not noticed:\n{output}"
    assert "assertion violated" in output
