"""Real Ray Train with gloo: one, two and four workers have one loss, one gradient, one result."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from tests.workloads.partial_da.cases import recipe, task
from torch import nn

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.partial_da import (
    ETN,
    METHODS,
    SAN,
    NotFiniteLoss,
    SANPlusPlus,
    Task,
    collective,
    distributed,
    fit,
)
from crossdock.workloads.partial_da.distributed import Place
from crossdock.workloads.runner import RunStalled

# A lost worker is found out, and its training begun anew: a minute, and more on a busy machine.
pytestmark = [pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(300)]
CPUS = 0.25
DEADLINE_S = 100.0


def normalised() -> Backbone:
    """Whose features depend on the whole batch."""
    torch.manual_seed(0)
    return Backbone("bn", nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU()))


def tasks() -> list[Task]:
    """All methods; 13 examples a batch, which 2 and 4 workers cannot share equally."""
    settings = {"recipe": recipe(batch=13), "backbone": normalised()}
    return [task(kind(), **settings) for kind in METHODS.values()]


def measured(one: Task) -> dict[str, np.ndarray]:
    """Float64 terms and gradients of a step in which all terms are there, then a state after."""
    training = one.training(dtype=torch.float64)
    training.run(3)
    terms = training.terms()
    nets = [*training.network.parameters(), *training.objective.parameters()]
    for net in nets:
        net.grad = None
    sum(terms.values(), start=torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    collective.average_gradients(nets)
    gradients = [torch.zeros(1) if net.grad is None else net.grad.flatten() for net in nets]
    training.run(8)
    state = [*training.network.state_dict().values(), training.class_weights]
    return {
        "terms": torch.stack(list(terms.values())).detach().numpy(),
        "gradients": torch.cat(gradients).numpy(),
        "after": torch.cat([value.double().flatten() for value in state]).numpy(),
    }


def measure(folder: str) -> None:
    """With all workers there are, then with two of them."""
    torch.set_num_threads(1)
    write(folder)
    if collective.workers() == 4:
        rank = collective.rank()
        dist.barrier()
        dist.destroy_process_group()
        if rank < 2:
            place = f"file://{folder}/meeting"
            dist.init_process_group("gloo", init_method=place, world_size=2, rank=rank)
            write(folder)


def write(folder: str) -> None:
    name = f"{collective.workers()}-{collective.rank()}.npz"
    found = {
        f"{one.method.name} {key}": value for one in tasks() for key, value in measured(one).items()
    }
    np.savez(Path(folder) / name, allow_pickle=False, **found)


def test_any_number_of_workers_has_the_loss_and_gradient_of_one(tmp_path: Path) -> None:
    TorchTrainer(
        partial(measure, str(tmp_path)),
        torch_config=TorchConfig(backend="gloo", timeout_s=60),
        scaling_config=ScalingConfig(num_workers=4, resources_per_worker={"CPU": CPUS}),
        run_config=RunConfig(name="measure", storage_path=str(tmp_path)),
    ).fit()
    measure(str(tmp_path))
    shared = sorted(path.name for path in tmp_path.glob("[24]-*.npz"))
    assert shared == ["2-0.npz", "2-1.npz", "4-0.npz", "4-1.npz", "4-2.npz", "4-3.npz"]
    with np.load(tmp_path / "1-0.npz") as alone:
        for file in shared:
            with np.load(tmp_path / file) as found:
                assert set(found.files) == set(alone.files)
                for name in alone.files:
                    np.testing.assert_allclose(
                        found[name], alone[name], rtol=1e-9, atol=1e-11, err_msg=f"{file} {name}"
                    )


class Mortal(nn.Module):
    """Kills its process in the sixth step of the second worker, once; the file counts its steps."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 5)
        self.file = file

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training and collective.rank() == 1:
            with self.file.open("a") as file:
                file.write("step\n")
            if self.file.read_text().count("step") == 6:
                time.sleep(5)  # Ray hears of the checkpoint
                os.kill(os.getpid(), signal.SIGKILL)
        features: torch.Tensor = self.layer(inputs)
        return features


def test_a_lost_worker_is_made_good_from_the_last_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    one = task(SANPlusPlus(), backbone=Backbone("mortal", Mortal(tmp_path / "steps")))
    place = Place(workers=2, cpus=CPUS, deadline_s=DEADLINE_S, retries=1)
    found = distributed.fit(one, tmp_path / "run", place)
    assert (tmp_path / "steps").read_text().count("step") == 6 + 4, "it goes on after step 4"
    expected = fit(one)
    assert [line["step"] for line in found.history] == [4, 8]
    for name, value in found.network.state_dict().items():
        torch.testing.assert_close(value, expected.network.state_dict()[name], rtol=1e-4, atol=1e-6)
    again = distributed.fit(one, tmp_path / "run", Place(cpus=CPUS, deadline_s=DEADLINE_S))
    assert again.history == found.history, "what is done is not done again"


def test_a_loss_that_is_not_finite_comes_back_as_what_it_is(tmp_path: Path) -> None:
    one = task(ETN(auxiliary_domain=3e38))
    with pytest.raises(NotFiniteLoss, match="of etn: the term 'auxiliary domain' of the loss is"):
        distributed.fit(one, tmp_path / "run", Place(cpus=CPUS, deadline_s=DEADLINE_S))


def test_a_training_that_never_gets_its_place_ends_at_the_deadline(tmp_path: Path) -> None:
    with pytest.raises(RunStalled, match=r"no checkpoint has come to .*run for 3 s; the cluster"):
        distributed.fit(task(SAN()), tmp_path / "run", Place(cpus=1000, deadline_s=3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, "workers are 0 and retries 2"),
        ({"cpus": 0}, "cpus 0, gpus 0.0"),
        ({"deadline_s": 0}, "deadline_s 0 do not all fit"),
    ],
)
def test_places_out_of_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Place(**given)


def test_more_workers_than_examples_are_refused(tmp_path: Path) -> None:
    one = task(SAN(), recipe=recipe(batch=1))
    with pytest.raises(ArgumentError, match="a batch of 1 is too small for 2 workers"):
        distributed.fit(one, tmp_path / "run", Place(workers=2, cpus=CPUS))


def test_a_checkpoint_that_goes_while_it_is_looked_for_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept" / distributed.FILE
    kept.parent.mkdir()
    kept.touch()
    gone = tmp_path / "gone" / distributed.FILE
    monkeypatch.setattr(Path, "rglob", lambda *_: iter([gone, kept]))
    assert distributed._written(tmp_path, 7.0) == 7.0
    monkeypatch.undo()
    assert distributed._written(tmp_path, 7.0) == kept.stat().st_mtime
