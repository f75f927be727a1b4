"""How ranks meet: order, rounds, and who is named when some stay away."""

from __future__ import annotations

import datetime
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.harness import FolderStore

from crossdock.proxy import (
    ArgumentError,
    DeadlineExceeded,
    Exchange,
    MismatchError,
    StoreExchange,
    ThreadExchange,
    TransportError,
)


def store_group(folder: Path, size: int) -> list[Exchange]:
    return [StoreExchange(FolderStore(folder), rank, size, "job") for rank in range(size)]


def thread_group(folder: Path, size: int) -> list[Exchange]:
    return list(ThreadExchange.group(size))


Group = Callable[[Path, int], list[Exchange]]
GROUPS = pytest.mark.parametrize("group", [store_group, thread_group])


@GROUPS
@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_rank_gets_all_parts_in_order_of_rank(
    group: Group, size: int, tmp_path: Path
) -> None:
    def rounds(exchange: Exchange) -> list[list[bytes]]:
        return [
            exchange.all_gather(b"%d of %d" % (exchange.rank, number), 10) for number in range(20)
        ]

    expected = [[b"%d of %d" % (rank, number) for rank in range(size)] for number in range(20)]
    with ThreadPoolExecutor(size) as pool:
        assert list(pool.map(rounds, group(tmp_path, size))) == [expected] * size


@GROUPS
def test_deadline_names_exactly_the_missing_ranks(group: Group, tmp_path: Path) -> None:
    exchanges = group(tmp_path, 4)

    def missing(exchange: Exchange) -> tuple[int, ...]:
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="rank\\(s\\) 1, 3") as caught:
            exchange.all_gather(b"", 0.3)
        assert 0.25 < time.monotonic() - start < 3
        return caught.value.missing

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(missing, [exchanges[0], exchanges[2]])) == [(1, 3), (1, 3)]


@GROUPS
def test_a_late_rank_is_waited_for(group: Group, tmp_path: Path) -> None:
    first, second = group(tmp_path, 2)
    late = threading.Timer(0.2, lambda: second.all_gather(b"b", 5))
    late.start()
    assert first.all_gather(b"a", 5) == [b"a", b"b"]
    late.join()


def test_store_keeps_no_more_than_the_last_round(tmp_path: Path) -> None:
    exchanges = store_group(tmp_path, 2)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            list(pool.map(lambda exchange: exchange.all_gather(b"x", 5), exchanges))
    assert len(list(tmp_path.iterdir())) == 2


def test_values_may_be_any_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 100
    assert StoreExchange(FolderStore(tmp_path), 0, 1, "p").all_gather(data, 1) == [data]


def test_a_rank_that_is_overwritten_learns_it(tmp_path: Path) -> None:
    first, twin = (StoreExchange(FolderStore(tmp_path), 0, 1, "job") for _ in range(2))

    class Overtaken(FolderStore):
        def wait(self, keys: list[str], timeout: datetime.timedelta, /) -> None:
            assert twin.all_gather(b"twin", 1) == [b"twin"]

    first._store = Overtaken(tmp_path)
    with pytest.raises(MismatchError, match="rank 0: two processes have joined as rank 0"):
        first.all_gather(b"first", 1)


def meet(exchange: StoreExchange, rounds: int, deadline_s: float) -> str:
    try:
        for _ in range(rounds):
            exchange.all_gather(b"x", deadline_s)
    except (MismatchError, DeadlineExceeded, TransportError) as error:
        return type(error).__name__
    return "met"


class Slow(FolderStore):
    """A store in which everything takes a while, so that twins get in each other's way."""

    def set(self, key: str, value: bytes, /) -> None:
        time.sleep(random.random() * 0.004)
        super().set(key, value)
        time.sleep(random.random() * 0.004)

    def get(self, key: str, /) -> bytes:
        time.sleep(random.random() * 0.004)
        return super().get(key)


@pytest.mark.parametrize("attempt", range(8))
def test_no_two_processes_are_one_rank(tmp_path: Path, attempt: int) -> None:
    random.seed(attempt)
    exchanges = [StoreExchange(Slow(tmp_path), min(n, 1), 2, "job") for n in range(3)]
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda exchange: meet(exchange, 6, 0.5), exchanges))
    assert ended[1:].count("met") < 2, ended


def test_other_numbers_of_ranks_are_noticed(tmp_path: Path) -> None:
    sizes = [2, 2, 3]
    exchanges = [
        StoreExchange(FolderStore(tmp_path), r, size, "job") for r, size in enumerate(sizes)
    ]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(2):
            ended = list(pool.map(lambda exchange: meet(exchange, 1, 10), exchanges))
    assert ended == ["met", "met", "MismatchError"]


class BrokenStore(FolderStore):
    def wait(self, keys: list[str], timeout: datetime.timedelta, /) -> None:
        raise RuntimeError("connection reset")

    def check(self, keys: list[str], /) -> bool:
        raise RuntimeError("connection reset")


def test_a_broken_store_is_no_missing_rank(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="connection reset"):
        StoreExchange(BrokenStore(tmp_path), 0, 2, "job").all_gather(b"", 1)


@pytest.mark.parametrize(("rank", "size"), [(2, 2), (-1, 2), (0, 0)])
def test_impossible_ranks_are_refused(rank: int, size: int, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=f"rank is {rank} of {size}"):
        StoreExchange(FolderStore(tmp_path), rank, size, "job")


def test_ranks_meet_in_the_stores_of_torch() -> None:
    dist = pytest.importorskip("torch.distributed")
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    stores = [
        dist.PrefixStore("group", dist.TCPStore("127.0.0.1", server.port, is_master=False))
        for _ in range(3)
    ]
    exchanges = [StoreExchange(store, rank, 3, "job") for rank, store in enumerate(stores)]
    data = [bytes([rank]) * 300 + bytes(range(256)) for rank in range(3)]
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            got = list(pool.map(lambda e: e.all_gather(data[e.rank], 10), exchanges))
            assert got == [data] * 3
    with pytest.raises(DeadlineExceeded) as caught:
        exchanges[0].all_gather(b"", 0.3)
    assert caught.value.missing == (1, 2)
