"""How the ranks of a Buffer meet: process groups, MPI communicators, exchanges."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from tests.ep.normal_cases import NormalSpec, check_normal
from tests.ep.pool import Seat
from tests.ep.worlds import on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep import Buffer, Config
from crossdock.ep.groups import GroupExchange, MpiExchange, exchange_of
from crossdock.proxy import StoreExchange, ThreadExchange
from crossdock.proxy.errors import ArgumentError, TransportError

SIZE = 3
WORLD = on_one_node(SIZE, "shm")
BYTES = Config().get_nvl_buffer_size_hint(1, SIZE)


def check_buffer(rank: RankContext, group: object, comm: object = None) -> None:
    buffer = Buffer(group, BYTES, comm=comm, options=WORLD.options(0))
    assert (buffer.rank, buffer.group_size, buffer.group) == (rank.rank, SIZE, group)
    check_normal(Seat(rank, WORLD, buffer), NormalSpec((4, 5, 6)))
    buffer.destroy()


# ---- process groups -----------------------------------------------------------------------------


def on_process_groups(rank: RankContext) -> None:
    """The world, and groups of some ranks; several Buffers on one group."""
    with rank.gloo():
        assert isinstance(exchange_of(dist.group.WORLD), StoreExchange)
        for _ in range(2):
            check_buffer(rank, dist.group.WORLD)
        pair = dist.new_group([0, 2])
        alone = dist.new_group([1])
        group = alone if rank.rank == 1 else pair
        buffer = Buffer(group, BYTES, options=WORLD.options(0))
        assert (buffer.rank, buffer.group_size) == ([0, 0, 1][rank.rank], [2, 1, 2][rank.rank])
        world = on_one_node(buffer.group_size)
        seat = Seat(RankContext(buffer.rank, world.size, rank.folder), world, buffer)
        check_normal(seat, NormalSpec((6,) * world.size))
        buffer.destroy()


def test_buffers_on_process_groups() -> None:
    run_ranks(on_process_groups, SIZE)


def in_worlds_one_after_another(rank: RankContext) -> list[str]:
    """As a program does that leaves torch.distributed and joins it again; the store stays."""
    store = dist.HashStore()  # type: ignore[attr-defined]
    prefixes = []
    for _ in range(2):
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        exchange = exchange_of(dist.group.WORLD)
        assert isinstance(exchange, StoreExchange)
        assert exchange.all_gather(b"", 10) == [b""]
        prefixes.append(exchange._prefix)
        dist.destroy_process_group()
    return prefixes


def test_a_world_made_anew_takes_nothing_for_its_own_that_the_last_one_left() -> None:
    first, second = run_ranks(in_worlds_one_after_another, 1)[0]
    assert first != second


def without_a_store(rank: RankContext) -> None:
    """A torch that does not give its store away."""
    pytest.MonkeyPatch().setattr("crossdock.ep.groups._store_of", lambda group: None)
    with rank.gloo():
        exchange = exchange_of(dist.group.WORLD)
        assert isinstance(exchange, GroupExchange)
        parts = [bytes([r]) * (r * 1000) for r in range(SIZE)]
        assert exchange.all_gather(parts[rank.rank], 10) == parts
        assert exchange.all_gather(b"", 10) == [b""] * SIZE
        check_buffer(rank, dist.group.WORLD)


def test_the_collectives_of_a_group_do_where_its_store_is_out_of_reach() -> None:
    run_ranks(without_a_store, SIZE)


def absent(rank: RankContext) -> str:
    with rank.gloo():
        exchange = GroupExchange(dist.group.WORLD)  # type: ignore[arg-type]
        meeting = rank.exchange()
        if rank.rank != 1:
            with pytest.raises(TransportError, match=f"rank {rank.rank}: the process") as caught:
                exchange.all_gather(b"", 0.5)
        meeting.all_gather(b"", 20)
        return "" if rank.rank == 1 else str(caught.value)


def test_a_collective_that_fails_is_a_transport_error() -> None:
    assert "1" in run_ranks(absent, SIZE)[0]


@pytest.mark.parametrize("group", [None, 3, "world", object()])
def test_what_is_no_group_is_refused(group: object) -> None:
    with pytest.raises(ArgumentError, match=r"pass a torch\.distributed process group, a cross"):
        exchange_of(group)


def test_any_exchange_will_do() -> None:
    exchange = ThreadExchange.group(1)[0]
    assert exchange_of(exchange) is exchange
    buffer = Buffer(exchange, Config().get_nvl_buffer_size_hint(1, 1))
    assert (buffer.rank, buffer.group_size) == (0, 1)
    buffer.destroy()


# ---- MPI ----------------------------------------------------------------------------------------


class FolderComm:
    """The four calls of an mpi4py communicator that are used."""

    def __init__(self, rank: RankContext) -> None:
        self._exchange = rank.exchange("mpi")

    def Get_rank(self) -> int:  # noqa: N802
        return self._exchange.rank

    def Get_size(self) -> int:  # noqa: N802
        return self._exchange.size

    def Allgather(self, mine: Any, everybodys: Any) -> None:  # noqa: N802
        parts = self._exchange.all_gather(memoryview(mine).tobytes(), 10)
        memoryview(everybodys).cast("B")[:] = b"".join(parts)

    def Allgatherv(self, mine: bytes, everybodys: list[Any]) -> None:  # noqa: N802
        whole, lengths = everybodys
        parts = self._exchange.all_gather(mine, 10)
        assert [len(part) for part in parts] == lengths
        whole[:] = b"".join(parts)


def on_a_communicator(rank: RankContext) -> None:
    comm = FolderComm(rank)
    exchange = exchange_of(None, comm)
    assert isinstance(exchange, MpiExchange)
    parts = [bytes([65 + r]) * r for r in range(SIZE)]
    assert exchange.all_gather(parts[rank.rank], 10) == parts
    check_buffer(rank, None, comm)


def test_a_buffer_on_what_looks_like_an_mpi_communicator() -> None:
    run_ranks(on_a_communicator, SIZE)


PROGRAM = """
import pathlib
import sys
import torch
from mpi4py import MPI
from crossdock.ep import Buffer, Config
from crossdock.proxy import Options
comm = MPI.COMM_WORLD
size = Config().get_nvl_buffer_size_hint(1, comm.Get_size())
buffer = Buffer(None, size, comm=comm, options=Options(proxy_threads=0))
x = torch.full((3, 8), float(buffer.rank), dtype=torch.bfloat16)
idx = torch.tensor([[0, 1]] * 3)
per_rank, _, per_expert, in_rank, _ = buffer.get_dispatch_layout(idx, 2)
got, *_ = buffer.dispatch(
    x, num_tokens_per_rank=per_rank, is_token_in_rank=in_rank, num_tokens_per_expert=per_expert,
    topk_idx=idx, topk_weights=torch.ones(3, 2),
)
assert got[:, 0].tolist() == [0.0] * 3 + [1.0] * 3, got
buffer.destroy()
pathlib.Path(sys.argv[1], str(buffer.rank)).touch()
"""


def test_a_buffer_on_a_real_mpi_communicator(tmp_path: Path) -> None:
    file, agreed = tmp_path / "program.py", tmp_path / "agreed"
    file.write_text(PROGRAM)
    agreed.mkdir()
    root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    done = subprocess.run(
        ["mpirun", *root, "--oversubscribe", "-n", "2", sys.executable, str(file), str(agreed)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in agreed.iterdir()) == ["0", "1"]
