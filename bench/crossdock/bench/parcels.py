"""Tensors as bytes, between processes of one host: a short description, then the raw data."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import msgspec
import torch
import torch.distributed as dist
from torch import Tensor

from crossdock.bench.ranks import Rank
from crossdock.bench.workload import Arrived, Expected, Shape, expected_of_all

_DTYPES = {
    str(dtype): dtype
    for dtype in (
        torch.bfloat16,
        torch.float8_e4m3fn,
        torch.float32,
        torch.int32,
        torch.int64,
    )
}


class Label(msgspec.Struct, frozen=True):
    """Of one tensor."""

    dtype: str
    shape: tuple[int, ...]


Labels = list[Label | None]


def pack(expected: Expected) -> tuple[bytes, list[Tensor]]:
    """The description, and the data as uint8[bytes]."""
    tensors = [*expected.arrived, expected.combined]
    labels: Labels = [None if t is None else Label(str(t.dtype), tuple(t.shape)) for t in tensors]
    data = [t.contiguous().flatten().view(torch.uint8) for t in tensors if t is not None]
    return msgspec.json.encode(labels), data


def empties(description: bytes) -> list[Tensor]:
    """Room for the data."""
    return [
        torch.empty(_bytes_of(label), dtype=torch.uint8)
        for label in msgspec.json.decode(description, type=Labels)
        if label is not None
    ]


def unpack(description: bytes, data: list[Tensor]) -> Expected:
    """What was packed; the data is not copied."""
    rest = iter(data)
    tensors = [
        None if label is None else next(rest).view(_DTYPES[label.dtype]).view(label.shape)
        for label in msgspec.json.decode(description, type=Labels)
    ]
    rows, scales, labels, weights, counts, combined = tensors
    if rows is None or labels is None or counts is None or combined is None:
        raise ValueError("the description lacks a tensor")
    return Expected(Arrived(rows, scales, labels, weights, counts), combined)


def expected_on(rank: Rank, shape: Shape) -> Expected:
    """A rank's right results. Rank 0 asks the reference for all, one process being enough."""
    if rank.rank > 0:
        descriptions = msgspec.json.decode(rank.gather(b"")[0], type=list[bytes])
        mine = descriptions[rank.rank]
        rooms = empties(mine)
        for room in rooms:
            dist.recv(room, 0)
        return unpack(mine, rooms)
    with _all_cores(rank):
        results = expected_of_all(shape)
    packs = [pack(result) for result in results]
    rank.gather(msgspec.json.encode([description for description, _ in packs]))
    for peer in range(1, shape.ranks):
        for tensor in packs[peer][1]:
            dist.send(tensor, peer)
    return results[0]


@contextlib.contextmanager
def _all_cores(rank: Rank) -> Iterator[None]:
    """While the others wait."""
    os.sched_setaffinity(0, rank.all_cpus)
    torch.set_num_threads(len(rank.all_cpus))
    try:
        yield
    finally:
        os.sched_setaffinity(0, rank.cpus)
        torch.set_num_threads(len(rank.cpus))


def _bytes_of(label: Label) -> int:
    size = _DTYPES[label.dtype].itemsize
    for length in label.shape:
        size *= length
    return size
