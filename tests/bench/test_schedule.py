from __future__ import annotations

import threading
from typing import cast

import pytest

from crossdock.bench.ranks import Rank
from crossdock.bench.schedule import Interval, merged, take_turns
from crossdock.proxy import ThreadExchange


class FakeRank:
    """A rank without a process group."""

    one_clock = True

    def __init__(self, exchange: ThreadExchange, log: list[str]) -> None:
        self.exchange = exchange
        self.log = log

    def meet(self) -> None:
        self.log.append("meet")

    def gather(self, data: bytes) -> list[bytes]:
        return self.exchange.all_gather(data, 10.0)


class Fake:
    """A contender that says what it is asked; its steps begin and end when it likes."""

    def __init__(self, name: str, log: list[str], offset: float = 0.0) -> None:
        self.name = name
        self.log = log
        self.offset = offset

    def prepare(self, step: str) -> None:
        self.log.append(f"prepare {self.name} {step}")

    def run(self, step: str) -> Interval:
        self.log.append(f"run {self.name} {step}")
        return Interval(self.offset, self.offset + 1.0)

    def count_wrong(self, step: str) -> int | None:
        self.log.append(f"check {self.name} {step}")
        return 1 if step == "go" else None

    def close(self) -> None: ...


def alone(log: list[str]) -> Rank:
    return cast("Rank", FakeRank(ThreadExchange.group(1)[0], log))


def test_ranks_meet_between_preparation_and_step() -> None:
    log: list[str] = []
    take_turns(alone(log), [Fake("a", log)], ["go"], 1, 0, lambda _: None)
    assert log == ["prepare a go", "meet", "run a go", "check a go"]


def test_each_round_begins_with_another() -> None:
    log: list[str] = []
    take_turns(alone(log), [Fake(n, log) for n in "abc"], ["go"], 3, 0, lambda _: None)
    assert [entry[4] for entry in log if entry.startswith("run")] == list("abcbcacab")


def test_warm_up_is_checked_but_not_counted() -> None:
    told: list[int] = []
    timings = take_turns(alone([]), [Fake("a", [])], ["go", "back"], 2, 1, told.append)
    assert len(timings["a"]["go"].starts) == len(timings["a"]["go"].ends) == 2
    assert timings["a"]["go"].wrong == 3
    assert timings["a"]["back"].wrong is None
    assert told == [0, 1, 2]


@pytest.mark.parametrize(("one_clock", "seconds"), [(True, 1.5), (False, 1.0)])
def test_ranks_are_merged(one_clock: bool, seconds: float) -> None:
    results: dict[int, object] = {}

    def rank(exchange: ThreadExchange) -> None:
        fake = FakeRank(exchange, [])
        fake.one_clock = one_clock
        contender = Fake("a", [], offset=0.5 * exchange.rank)
        timings = take_turns(cast("Rank", fake), [contender], ["go"], 2, 0, lambda _: None)
        results[exchange.rank] = merged(cast("Rank", fake), timings)

    threads = [threading.Thread(target=rank, args=(e,)) for e in ThreadExchange.group(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == {"a": {"go": ([seconds, seconds], 4)}}
