"""``python -m tests.decompile.interpreters [EVERY]``: the table of all versions.

Beside it stands what was published of depyf 0.20: of so many functions of the same libraries it
decompiled and recompiled some, and few came out with the instructions that they had.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator

from tests.decompile.interpreters import packages, running
from tests.decompile.interpreters.measuring import Outcome, measured

SECONDS_MAX = 3600
ROW = "{:6} {:>9} {:>8} {:>6} {:>8} {:>8} {:>6} {:>9} {:>8} {:>9} {:>9} {:>9}"
DEPYF = {
    "3.11": ("2000", "84.6", "45.2"),
    "3.12": ("500", "76.2", "42.4"),
    "3.13": ("500", "25.4", "21.2"),
}
"""By version: functions, and shares of them that are recompiled and that are identical."""


def lines(python: str, found: list[Outcome]) -> Iterator[str]:
    """A row, then the causes of what is not proved."""
    seconds = [one for outcome in found for one in outcome.seconds]
    total = len(seconds)

    def share(kind: str) -> str:
        return f"{100 * sum(o.functions for o in found if o.outcome == kind) / total:.2f}"

    kinds = [share(kind) for kind in ("proved", "loop", "refused", "crashed")]
    wrong = sum(one.wrong for one in found)
    minute = f"{60 * total / sum(seconds):.0f}"
    median = f"{1e3 * statistics.median(seconds):.2f}"
    depyf = DEPYF.get(python, ("", "", ""))
    yield ROW.format(python, total, *kinds, wrong, minute, median, *depyf)
    for one in sorted(found, key=lambda one: -one.functions):
        if one.outcome != "proved":
            yield f"#      {one.functions:5} {one.outcome}: {one.cause} ({one.names[0]})"


def main(every: int) -> None:
    """Measure all versions, one after the other."""
    print("# shares of functions in percent; wrong: proofs that do not hold; elapsed time")
    heads = ("proved", "loop", "refused", "crashed", "wrong", "a minute", "ms")
    depyf = ("depyf: of", "compiled", "identical")
    print(ROW.format("python", "functions", *heads, *depyf))
    versions = {running.OWN, *packages.PACKAGES}
    for python in sorted(versions, key=lambda one: tuple(map(int, one.split(".")))):
        for line in lines(python, measured(python, every, SECONDS_MAX)):
            print(line, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
