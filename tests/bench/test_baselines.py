from __future__ import annotations

import importlib.util
import shutil
import socket
import threading

import pytest
import torch

from crossdock.bench import parcels
from crossdock.bench.baselines import mpi, queues
from crossdock.bench.errors import BaselineMissing
from crossdock.bench.workload import Dtype, Shape, expected_of_all


def test_python_queue_keeps_order() -> None:
    seconds, wrong = queues.stream_seconds(500)
    assert seconds > 0
    assert wrong == 0
    assert len(queues.latencies(64, 20)) == 20


@pytest.mark.parametrize("dtype", ["bf16", "fp8"])
def test_parcels_bring_back_what_was_packed(dtype: Dtype) -> None:
    shape = Shape("normal", dtype, 2, 9, hidden=128, topk=2, experts=4)
    right = expected_of_all(shape)[1]
    description, data = parcels.pack(right)
    rooms = parcels.empties(description)
    for room, source in zip(rooms, data, strict=True):
        room.copy_(source)
    got = parcels.unpack(description, rooms)
    assert got.arrived.rows.dtype == right.arrived.rows.dtype
    tensors = zip((*got.arrived, got.combined), (*right.arrived, right.combined), strict=True)
    for mine, expected in tensors:
        assert (mine is None) == (expected is None)
        if mine is not None and expected is not None:
            assert torch.equal(mine.float(), expected.float())


def test_messages_and_tensors_cross_a_link() -> None:
    near, far = socket.socketpair()
    with near, far:
        mpi.send_message(near, b"hello")
        mpi.send_message(near, b"")
        assert mpi.receive_message(far) == b"hello"
        assert mpi.receive_message(far) == b""
        room = torch.zeros(5, dtype=torch.uint8)
        near.sendall(bytes([1, 2, 3, 4, 5]))
        mpi.receive_tensors(far, [torch.empty(0, dtype=torch.uint8), room])
        assert room.tolist() == [1, 2, 3, 4, 5]
        large = bytes(range(256)) * 8192  # more than a socket holds: it comes in pieces
        sender = threading.Thread(target=mpi.send_message, args=(near, large))
        sender.start()
        assert mpi.receive_message(far) == large
        sender.join()
        near.close()
        with pytest.raises(EOFError):
            mpi.receive_message(far)


def test_missing_mpi_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BaselineMissing, match="pip install"):
        mpi.require()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(BaselineMissing, match="openmpi-bin"):
        mpi.require()
