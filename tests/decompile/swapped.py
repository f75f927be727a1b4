"""``python -m tests.decompile.swapped``: does the library, there and back, pass its own tests?

Functions of modules of the standard library are decompiled and compiled again, and CPython's own
tests of the modules run, without them and with them. Each test must come out the same. Arguments
are names of cases, the first module of each; none are all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.decompile import shadow, unittest_outcomes
from tests.decompile.library_cases import CASES, Case
from tests.decompile.shadow import Swapped

DEADLINE_S = 300.0
"""For the tests of one case, run once."""
PYTHON = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
"""The interpreter without an environment around it, whose tests these are."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What became of each test, by its name; whether they came to their end; what they printed."""

    outcomes: Mapping[str, str]
    ended: bool
    printed: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both runs of a case. ``parted`` are tests that came out otherwise: how without, how with."""

    swapped: Swapped
    plain: Run
    again: Run
    parted: Mapping[str, tuple[str, str]]

    @property
    def alike(self) -> bool:
        """Whether every test came out the same."""
        return self.plain.ended and self.again.ended and not self.parted


def compared(case: Case, folder: Path, deadline_s: float = DEADLINE_S) -> Comparison:
    """Run a case both ways. `folder` keeps both libraries, for other cases to build on.

    What parts is run again, both ways: on a busy machine, tests that wait are late now and then.
    """
    counts = Swapped()
    for module in case.modules:
        for path in shadow.files(module):
            counts += shadow.swap(path, folder / "swapped")
    parted: dict[str, tuple[str, str]] = {}
    for _ in range(2):
        plain = run(case.tests, folder / "plain", deadline_s)
        again = run(case.tests, folder / "swapped", deadline_s)
        found = _parted(case, plain, again)
        parted = {test: how for test, how in found.items() if test in parted or not parted}
        if not parted and plain.ended and again.ended:
            break
    return Comparison(swapped=counts, plain=plain, again=again, parted=parted)


def _parted(case: Case, plain: Run, again: Run) -> dict[str, tuple[str, str]]:
    return {
        test: (plain.outcomes.get(test, "absent"), again.outcomes.get(test, "absent"))
        for test in sorted({*plain.outcomes, *again.outcomes} - {*case.differ})
        if plain.outcomes.get(test) != again.outcomes.get(test)
    }


def run(tests: Sequence[str], prefix: Path, deadline_s: float = DEADLINE_S) -> Run:
    """Run tests in a process and a folder of their own, with the cache of bytecode at `prefix`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return _run(tests, prefix, Path(folder), deadline_s)


def _run(tests: Sequence[str], prefix: Path, folder: Path, deadline_s: float) -> Run:
    path, log = folder / "outcomes", folder / "printed"
    script = unittest_outcomes.__file__
    command = [str(PYTHON), "-X", "frozen_modules=off", script, str(path)]
    with log.open("wb") as printed:
        child = subprocess.Popen(
            [*command, *(f"test.{one}" for one in tests)],
            cwd=folder,
            env={**os.environ, "PYTHONPYCACHEPREFIX": str(prefix), "PYTHONHASHSEED": "0"},
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            ended = child.wait(deadline_s) == 0
        except subprocess.TimeoutExpired:
            ended = False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # and what the tests have left behind
            child.wait()
    return Run(outcomes=_outcomes(path), ended=ended, printed=log.read_text(errors="replace"))


def _outcomes(path: Path) -> dict[str, str]:
    """A test that failed in one part has failed."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        outcome, _, test = line.partition(" ")
        if found.get(test) != "failed":
            found[test] = outcome
    return found


def main(names: Sequence[str]) -> int:
    """Run cases, print a line for each and what parted; 1 if any test came out otherwise."""
    chosen = [case for case in CASES if not names or case.modules[0] in names]
    print(f"{'modules':28} functions loops kept  passed failed skipped parted", flush=True)
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for case in chosen:
            found = compared(case, Path(folder))
            _tell(case, found)
            total.update(cases=1, modules=len(case.modules), alike=found.alike)
            total.update(asdict(found.swapped))
            total.update(passed=Counter(found.again.outcomes.values())["passed"])
    print(", ".join(f"{number} {name}" for name, number in total.items()))
    return total["alike"] < total["cases"]


def _tell(case: Case, found: Comparison) -> None:
    counts, swapped = Counter(found.again.outcomes.values()), found.swapped
    print(
        f"{' '.join(case.modules):28} {swapped.functions:9} {swapped.loops:5} {swapped.kept:4}"
        f" {counts['passed']:7} {counts['failed']:6} {counts['skipped']:7} {len(found.parted):6}",
        flush=True,
    )
    for test, (without, with_) in found.parted.items():
        print(f"    {test}: {without} without, {with_} with", flush=True)
    for name, one in (("without", found.plain), ("with", found.again)):
        if not one.ended:
            print(f"    no end {name}: {one.printed[-2000:]}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
