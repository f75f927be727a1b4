"""Under DDP and FSDP, with two processes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from tests.programs import run_program
from tests.workloads.conv_bn.cases import Pair, drawn, farthest, learnt
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn.parallel import DistributedDataParallel

from crossdock.workloads.conv_bn import tune_mode

RANKS = 2
LEAVES = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)


def network() -> nn.Module:
    torch.manual_seed(0)
    return learnt(
        nn.Sequential(
            Pair(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)),
            nn.ReLU(),
            Pair(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.BatchNorm2d(6)),
        )
    )


def loss(model: Any, x: Tensor) -> Tensor:
    out: Tensor = model(x)
    return out.square().sum()


def gradients(way: str, trace: bool, x: Tensor) -> list[Tensor]:
    """Of this rank's rows, by a wrapped model that was tuned before."""
    model = tune_mode(copy.deepcopy(network()), trace=trace)
    kind, _, parts = way.partition(" ")
    if kind == "ddp":
        wrapped = DistributedDataParallel(model)
        loss(wrapped, x).backward()  # type: ignore[no-untyped-call]
        return [one.grad for one in wrapped.parameters() if one.grad is not None]
    if kind == "fsdp":
        chosen: dict[str, set[type[nn.Module]]] = {"leaves": set(LEAVES), "blocks": {Pair}}
        wrapped_kinds = chosen.get(parts)
        whole = FullyShardedDataParallel(
            model,
            auto_wrap_policy=ModuleWrapPolicy(wrapped_kinds) if wrapped_kinds else None,
            use_orig_params=True,
            device_id=torch.device("cpu"),
        )
        loss(whole, x).backward()  # type: ignore[no-untyped-call]
        with FullyShardedDataParallel.summon_full_params(whole, with_grads=True):
            return [one.grad.clone() for one in whole.parameters() if one.grad is not None]
    for module in list(model.modules()):
        if isinstance(module, LEAVES if parts == "leaves" else Pair):
            fully_shard(module)
    fully_shard(model)
    loss(model, x).backward()  # type: ignore[no-untyped-call]
    return [one.grad.full_tensor() for one in model.parameters()]  # type: ignore[union-attr]


WAYS = ["ddp", "fsdp", "fsdp blocks", "fsdp leaves", "fully_shard blocks", "fully_shard leaves"]


def rank(number: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=number, world_size=RANKS)
    x = drawn(4, 3, 5, 5).detach()
    right = network()
    expected = torch.autograd.grad(loss(right, x) / RANKS, list(right.parameters()))
    found = {
        f"{way}, {'traced' if trace else 'at run time'}": farthest(
            gradients(way, trace, x[number::RANKS]), expected
        )
        for way in WAYS
        for trace in (True, False)
    }
    if number == 0:
        (folder / "found.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_gradients_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    program = (
        "import pathlib; from torch import multiprocessing as mp;"
        "from tests.workloads.conv_bn import test_distributed as test;"
        f"mp.spawn(test.rank, (pathlib.Path({str(tmp_path)!r}),), nprocs=test.RANKS)"
    )
    done = run_program(program, Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found) == 2 * len(WAYS)
    assert {way: error for way, error in found.items() if not error <= 1e-12} == {}
