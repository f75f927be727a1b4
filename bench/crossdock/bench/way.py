"""One way to dispatch and combine, and how it takes its turns."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from crossdock.bench.checks import count_wrong_arrivals, count_wrong_sums
from crossdock.bench.schedule import Interval, timed
from crossdock.bench.workload import Arrived, Expected

STEPS = ("dispatch", "combine")


class Way(Protocol):
    """What is measured: dispatch, from tokens to rows at experts; combine, from rows to sums."""

    @property
    def name(self) -> str:
        """As it stands in the report."""

    @property
    def exact(self) -> bool:
        """Whether it sums in the order of the reference, and rounds where that does."""

    def dispatch(self) -> None:
        """Everything from top-k to received rows, the layout among it."""

    def arrived(self) -> Arrived:
        """What came of it."""

    def output(self) -> Tensor:
        """What the experts make of it."""

    def combine(self, output: Tensor) -> Tensor:
        """The sums of this rank's tokens."""

    def forget(self) -> None:
        """Let go of the last results."""

    def close(self) -> None:
        """Give everything back; collective."""


class WayContender:
    """Measures a way, and checks every token of every result."""

    def __init__(self, way: Way, expected: Expected) -> None:
        self.name = way.name
        self._way = way
        self._expected = expected
        self._output: Tensor | None = None
        self._combined: Tensor | None = None

    def prepare(self, step: str) -> None:
        """See ``Contender.prepare``: the experts work between the two steps."""
        if step == "dispatch":
            self._way.forget()
        else:
            self._output = self._way.output()

    def run(self, step: str) -> Interval:
        """See ``Contender.run``."""
        return timed(self._way.dispatch if step == "dispatch" else self._combine)

    def count_wrong(self, step: str) -> int:
        """See ``Contender.count_wrong``."""
        if step == "dispatch":
            return count_wrong_arrivals(self._way.arrived(), self._expected.arrived)
        combined, self._output, self._combined = self._combined, None, None
        self._way.forget()
        if combined is None:
            return len(self._expected.combined)
        return count_wrong_sums(combined, self._expected.combined, self._way.exact)

    def close(self) -> None:
        """See ``Contender.close``."""
        self._way.close()

    def _combine(self) -> None:
        if self._output is None:
            raise RuntimeError("prepare comes first")
        self._combined = self._way.combine(self._output)
