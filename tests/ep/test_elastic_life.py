"""Building an ``ElasticBuffer``, what it says about itself, and leaving."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from tests.ep.elastic_cases import ElasticSpec, check_elastic
from tests.ep.pool import RankPool, Seat, pool_of
from tests.ep.worlds import World, on_one_node
from tests.harness import RankContext, run_ranks

from crossdock.ep import Buffer, ElasticBuffer, EventHandle
from crossdock.ep.versions import UnknownArgument
from crossdock.proxy.errors import (
    ArgumentError,
    CapacityError,
    CrossdockError,
    DestroyedError,
    MismatchError,
    PeerArgumentError,
)

HINT = 2 << 20
NODES = World((0, 1, 0), "shm")
pool = pool_of(on_one_node(2, "shm"))


def build(rank: RankContext, name: str = "job", **more: object) -> ElasticBuffer:
    world = NODES if rank.exchange(f"{name} size").size == 3 else on_one_node(2, "shm")
    options = world.options(rank.rank)
    return ElasticBuffer(rank.exchange(name), options=options, **more)  # type: ignore[arg-type]


def describe(rank: RankContext) -> None:
    buffer = build(rank, num_max_tokens_per_rank=16, hidden=64, num_topk=2)
    assert (buffer.rank_idx, buffer.num_ranks) == (rank.rank, 3)
    assert buffer.num_bytes == HINT
    assert buffer.get_buffer_size_hint(rank.exchange("hint"), 16, 64) == HINT
    assert buffer.get_physical_domain_size() == (2, 2)
    assert (buffer.num_rdma_ranks, buffer.num_nvlink_ranks) == (2, 2)
    assert buffer.get_logical_domain_size() == (1, 3)
    assert (buffer.scaleout_rank_idx, buffer.scaleup_rank_idx) == (0, rank.rank)
    sms = buffer.get_theoretical_num_sms(num_experts=6, num_topk=2)
    assert sms >= 4
    assert sms % 2 == 0
    assert 1 <= buffer.get_theoretical_num_qps(sms) <= buffer.num_allocated_qps
    with pytest.raises(ArgumentError, match="num_experts is 7"):
        buffer.get_theoretical_num_sms(7, 2)
    with pytest.raises(ArgumentError, match="num_topk is 9, but there are 6 experts"):
        buffer.get_theoretical_num_sms(6, 9)
    assert isinstance(ElasticBuffer.capture(), EventHandle)
    buffer.barrier()
    buffer.destroy()
    for call in (buffer.barrier, buffer.destroy, lambda: buffer.dispatch(torch.zeros(1, 8))):
        with pytest.raises(DestroyedError):
            call()


def test_it_says_where_its_ranks_are() -> None:
    run_ranks(describe, 3)


def forget(rank: RankContext) -> None:
    buffer = build(rank)
    gone = weakref.ref(buffer)
    communicator = weakref.ref(buffer.communicator)
    del buffer
    gc.collect()
    assert gone() is None
    assert communicator() is None
    build(rank, "next").destroy()


def test_a_forgotten_one_leaves_by_itself() -> None:
    run_ranks(forget, 2)


def refuse(rank: RankContext) -> None:
    wrong: list[tuple[dict[str, object], type[CrossdockError], str]] = [
        ({"num_cpu_bytes": 1}, ArgumentError, "num_cpu_bytes is 1, but must be 0"),
        ({"num_bytes": HINT + 1}, ArgumentError, "must be a multiple of 2 MiB"),
        ({"num_bytes": 0}, CapacityError, f"num_bytes is 0, but 2 ranks need {HINT}"),
        ({"num_max_tokens_per_rank": -1}, ArgumentError, "is -1, but must not be negative"),
    ]
    for number, (more, error, message) in enumerate(wrong):
        if rank.rank == 0:
            with pytest.raises(error, match=message):
                build(rank, f"refused {number}", **more)
        else:
            with pytest.raises(PeerArgumentError, match="rank 0"):
                build(rank, f"refused {number}")
    for name, value in {"num_max_tokens_per_rank": 3, "allow_multiple_reduction": False}.items():
        with pytest.raises(MismatchError, match=f"{name} is . here, but . on rank"):
            build(rank, name, **({name: value} if rank.rank else {}))
    build(rank, num_bytes=2 * HINT).destroy()


def test_nonsense_and_disagreement_are_refused_on_every_rank() -> None:
    run_ranks(refuse, 2)


def calls_of_another_version(seat: Seat) -> None:
    """Nothing is sent: it is as if the call had not been made."""
    elastic = build(seat.context, "versions")
    x, idx = torch.zeros(1, 64, dtype=torch.bfloat16), torch.zeros(1, 1, dtype=torch.int64)
    unknown = "has no argument use_nvfp4; .* DeepEP 1.2 .Buffer. and 2.0, 2.1 .ElasticBuffer."
    for owner, name, given in [
        (seat.buffer, "dispatch", (x,)),
        (seat.buffer, "combine", (x, None)),
        (seat.buffer, "get_dispatch_layout", (idx, 2)),
        (seat.buffer, "low_latency_dispatch", (x, idx, 1, 2)),
        (seat.buffer, "low_latency_combine", (x, idx, x, None)),
        (elastic, "dispatch", (x,)),
        (elastic, "combine", (x, None)),
        (elastic, "get_theoretical_num_sms", (2, 1)),
    ]:
        with pytest.raises(UnknownArgument, match=rf"{name}\(\) {unknown}"):
            getattr(owner, name)(*given, use_nvfp4=True)
    check_elastic(seat, ElasticSpec((3, 4)))
    elastic.destroy()


def test_arguments_of_other_versions_are_named(pool: RankPool) -> None:
    pool.check(calls_of_another_version)


@pytest.mark.parametrize("kind", [Buffer, ElasticBuffer])
def test_arguments_of_other_constructors_are_named(kind: type) -> None:
    with pytest.raises(TypeError, match=r"__init__\(\) has no argument num_buckets, lanes; "):
        kind(None, num_buckets=3, lanes=2)


def in_bf16(seat: Seat) -> None:
    torch.set_default_dtype(torch.bfloat16)
    try:
        for expand in (False, True):
            check_elastic(seat, ElasticSpec((9, 8), expand=expand, multiple=expand, biases=2))
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_default_dtype_changes_nothing(pool: RankPool) -> None:
    pool.check(in_bf16)
