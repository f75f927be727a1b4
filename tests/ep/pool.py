"""Ranks that stay: each keeps one Buffer and runs one check after another on it.

Starting processes costs more than most checks, so examples of one world share them. A failed check
ends them, because nobody knows what the ranks would do next; the next check starts new ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from tests.ep.worlds import INTERPRETED, World, build
from tests.harness import PATIENCE, RankContext, run_ranks

from crossdock.ep import Buffer

Connection = multiprocessing.connection.Connection
_LIFE_S = 300.0
_CHECK_S = 40.0 * PATIENCE


@dataclasses.dataclass
class Seat:
    """A rank, its Buffer and its world."""

    context: RankContext
    world: World
    buffer: Buffer

    @property
    def rank(self) -> int:
        """Number of the rank."""
        return self.context.rank


class RankPool:
    """The ranks of a world; ``more`` is passed to ``build``."""

    def __init__(self, world: World, **more: Any) -> None:
        self.world = world
        self._more = more
        self._lines: list[Connection] = []
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def check(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Run ``function(seat, *args)`` on every rank.

        Raises:
            AssertionError: with the tracebacks of the ranks that failed.
        """
        if not self._lines:
            self._start()
        for line in self._lines:
            line.send((function, args))
        answers = self._answers()
        failures = [f"rank {rank}: {text}" for rank, (text, _) in enumerate(answers) if text]
        if failures:
            self.end()
            raise AssertionError("\n".join(failures))
        return [result for _, result in answers]

    def _start(self) -> None:
        pairs = [multiprocessing.Pipe() for _ in range(self.world.size)]
        self._lines = [mine for mine, _ in pairs]
        theirs = [end for _, end in pairs]
        self._thread = threading.Thread(target=self._run, args=(theirs,), daemon=True)
        self._thread.start()
        failures = [text for text, _ in self._answers() if text]
        for end in theirs:
            end.close()
        if failures:
            self.end()
            raise AssertionError("\n".join(failures))

    def _run(self, theirs: list[Connection]) -> None:
        # What went wrong is told through the connections.
        with contextlib.suppress(AssertionError):
            run_ranks(
                _serve,
                self.world.size,
                self.world,
                theirs,
                self._more,
                timeout=_LIFE_S,
                environment=INTERPRETED if self._more.get("device") == "interpreter" else None,
            )

    def _answers(self) -> list[tuple[str | None, Any]]:
        """What went wrong, if anything did, and the result, of each rank."""
        end = time.monotonic() + _CHECK_S
        answers: list[tuple[str | None, Any]] = []
        for line in self._lines:
            try:
                if line.poll(max(0.0, end - time.monotonic())):
                    answers.append(line.recv())
                else:
                    answers.append((f"no answer within {_CHECK_S:g} s", None))
            except (EOFError, OSError):
                answers.append(("the process has ended", None))
        return answers

    def end(self) -> None:
        """Let the ranks go."""
        for line in self._lines:
            line.close()
        self._lines = []
        if self._thread is not None:
            self._thread.join(_CHECK_S)


# A failed example ends the ranks, so shrinking one would take minutes.
DRAWN = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def pool_of(*worlds: World, room: Callable[[World], tuple[int, int, int]] | None = None) -> Any:
    """A fixture: the ranks of each world, with ``room`` for the low-latency mode."""

    @pytest.fixture(scope="module", params=worlds, ids=str)
    def pool(request: pytest.FixtureRequest) -> Iterator[RankPool]:
        world = request.param
        with RankPool(world, low_latency=room(world) if room else None) as ranks:
            yield ranks

    return pool


def _serve(
    context: RankContext, world: World, lines: list[Connection], more: dict[str, Any]
) -> None:
    torch.set_num_threads(1)
    line = lines[context.rank]
    for other in lines:
        if other is not line:
            other.close()
    try:
        seat = Seat(context, world, build(context, world, **more))
    except BaseException:  # noqa: BLE001 - told to the parent
        line.send((traceback.format_exc(), None))
        return
    line.send((None, None))
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, args = line.recv()
            line.send(_answer(seat, function, args))
    if not seat.buffer.communicator.destroyed:
        seat.buffer.destroy()


def _answer(seat: Seat, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, Any]:
    try:
        return None, function(seat, *args)
    except BaseException:  # noqa: BLE001 - told to the parent
        # So that nobody waits for what this rank will not do.
        seat.buffer.communicator.abort()
        return traceback.format_exc(), None
