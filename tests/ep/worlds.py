"""Worlds in which a Buffer is tested: how many ranks, on which nodes, reaching each other how."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterator
from typing import Any

from tests.ep import interpreted
from tests.harness import RankContext
from tests.networks import NETWORK

from crossdock.ep import Buffer, Config
from crossdock.proxy import Options


@dataclasses.dataclass(frozen=True)
class World:
    """``nodes[rank]`` is the node of a rank, numbered in the order in which they appear."""

    nodes: tuple[int, ...]
    transport: str = "auto"
    threads: int = 0

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return len(self.nodes)

    def __str__(self) -> str:
        nodes = "".join(map(str, self.nodes))
        return f"{self.size}-ranks-on-{nodes}-{self.transport}-{self.threads}"

    def options(self, rank: int, **more: Any) -> Options:
        """Options of a rank: nothing is pinned, because many share the cores."""
        several = len(set(self.nodes)) > 1
        values: dict[str, Any] = {
            "transport": self.transport,
            "proxy_threads": self.threads,
            "node": f"node{self.nodes[rank]}" if several else None,
            "pin": False,
            "timeout_s": 20.0,
        }
        return Options(**(values | more))


def on_one_node(size: int, transport: str = "auto", threads: int = 0) -> World:
    """All ranks on one node."""
    return World((0,) * size, transport, threads)


# The environment of ranks whose Buffer has device="interpreter".
INTERPRETED = {"TRITON_INTERPRET": "1"}

# What must behave alike.
WAYS = [("shm", 0), ("shm", 1), (NETWORK, 0), (NETWORK, 2)]


def build(
    rank: RankContext,
    world: World,
    name: str = "job",
    ranks: Collection[int] | None = None,
    low_latency: tuple[int, int, int] | None = None,
    num_nvl_bytes: int | None = None,
    num_rdma_bytes: int | None = None,
    enable_shrink: bool = False,
    device: str | None = None,
    **more: Any,
) -> Buffer:
    """A Buffer of ``ranks``, or all; ``low_latency`` is (max tokens, hidden, experts).

    With ``device="interpreter"`` in a process with INTERPRETED in its environment.
    """
    exchange = rank.exchange(name, ranks)
    size = exchange.size
    if num_nvl_bytes is None:
        num_nvl_bytes = Config().get_nvl_buffer_size_hint(1, size)
    if low_latency is not None and num_rdma_bytes is None:
        tokens, hidden, experts = low_latency
        num_rdma_bytes = Buffer.get_low_latency_rdma_size_hint(tokens, hidden, size, experts)
    if device == "interpreter":
        interpreted.hasten()
    return Buffer(
        exchange,
        num_nvl_bytes,
        num_rdma_bytes or 0,
        low_latency_mode=low_latency is not None,
        enable_shrink=enable_shrink,
        device=device,
        options=world.options(rank.rank, **more),
    )


@contextlib.contextmanager
def built(rank: RankContext, world: World, name: str = "job", **more: Any) -> Iterator[Buffer]:
    """A Buffer that is destroyed when the block ends well, and aborted when it does not."""
    buffer = build(rank, world, name, **more)
    try:
        yield buffer
    except BaseException:
        buffer.communicator.abort()
        raise
    finally:
        if not buffer.communicator.destroyed:
            buffer.destroy()
