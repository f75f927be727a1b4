"""``python -m tests.decompile.interpreters [EVERY]``: the table of all versions."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator

from tests.decompile.interpreters import packages
from tests.decompile.interpreters.measuring import Outcome, measured

SECONDS_MAX = 3600
ROW = "{:6} {:>9} {:>8} {:>6} {:>8} {:>8} {:>6} {:>9} {:>8}"


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
    yield ROW.format(python, total, *kinds, wrong, minute, median)
    for one in sorted(found, key=lambda one: -one.functions):
        if one.outcome != "proved":
            yield f"#      {one.functions:5} {one.outcome}: {one.cause} ({one.names[0]})"


def main(every: int) -> None:
    """Measure all versions, one after the other."""
    print("# shares of functions in percent; wrong: proofs that do not hold; elapsed time")
    heads = ("proved", "loop", "refused", "crashed", "wrong", "a minute", "ms")
    print(ROW.format("python", "functions", *heads))
    for python in packages.PACKAGES:
        for line in lines(python, measured(python, every, SECONDS_MAX)):
            print(line, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
