"""Models as they are built and run on a node."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.workloads.rank import parts
from tests.workloads.rank.folders import describe, flowers, headed, one
from torch import nn

from crossdock.workloads.rank import ModelFailed
from crossdock.workloads.rank.models import Model
from crossdock.workloads.rank.networks import Network

INPUTS = flowers().inputs[:20]


def refused(model: Model) -> str:
    with pytest.raises(ModelFailed) as caught:
        Network(model)
    return str(caught.value)


def test_features_are_what_goes_into_the_head_and_the_head_gives_probabilities(
    tmp_path: Path,
) -> None:
    headed(tmp_path, "mine", seed=3)
    torch.manual_seed(3)
    module = parts.headed()
    assert isinstance(module, nn.Sequential)
    with torch.no_grad():
        features = module[:2](torch.from_numpy(INPUTS))
        probabilities = torch.softmax(module[2](features).double(), 1)
    got = Network(one(tmp_path))(INPUTS)
    np.testing.assert_array_equal(got.features, features.numpy())
    assert got.probabilities is not None
    np.testing.assert_allclose(got.probabilities, probabilities.numpy())
    assert got.features.dtype == np.float64


def test_without_a_head_features_are_the_output(tmp_path: Path) -> None:
    describe(tmp_path, "mine", "headless")
    got = Network(one(tmp_path))(INPUTS)
    assert got.features.shape == (20, 3)
    assert got.probabilities is None
    assert got.source_labels is None


def test_without_a_checkpoint_every_worker_draws_the_same_parameters(tmp_path: Path) -> None:
    describe(tmp_path, "mine", "headless")
    torch.manual_seed(1)
    first = Network(one(tmp_path))(INPUTS)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = Network(one(tmp_path))(INPUTS)
    np.testing.assert_array_equal(first.features, second.features)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_function_may_give_labels(tmp_path: Path) -> None:
    describe(tmp_path, "mine", "labelled", "source_classes = 4")
    got = Network(one(tmp_path))(INPUTS)
    assert got.source_labels is not None
    np.testing.assert_array_equal(got.source_labels, INPUTS.argmax(1))


def test_inputs_take_the_shape_that_is_described() -> None:
    model = Model(name="flat", factory="torch.nn:Flatten", shape=(2, 2))
    np.testing.assert_array_equal(Network(model)(INPUTS).features, INPUTS)
    raised = Model(name="odd", factory="torch.nn:Flatten", shape=(3, 5))
    with pytest.raises(RuntimeError, match="shape"):
        Network(raised)(INPUTS)


@pytest.mark.parametrize("library", ["torchvision", "timm", "transformers"])
def test_a_library_that_is_absent_is_named(library: str) -> None:
    if find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    said = refused(Model(name="x", factory=f"{library}:resnet18"))
    assert f"{library} is not installed here" in said
    assert f"pip install {library}" in said


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("no.such.module:build", "unknown factory no.such.module:build: No module named 'no'"),
        ("torch.nn:Lineal", "unknown factory torch.nn:Lineal: module 'torch.nn' has no attribute"),
        ("torch.nn:Linear", "torch.nn:Linear raised TypeError: "),
        ("tests.workloads.rank.parts:number", "gave a int, not a module or function"),
    ],
)
def test_a_factory_that_gives_no_model_is_named(factory: str, said: str) -> None:
    assert said in refused(Model(name="x", factory=factory))


def test_a_checkpoint_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    headed(tmp_path, "mine", 0)
    file = tmp_path / "mine.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    assert "the checkpoint cannot be read: " in refused(one(tmp_path))
    save_file(parts.headless().state_dict(), file)
    assert "the checkpoint does not fit: " in refused(one(tmp_path))
    describe(tmp_path, "mine", "labelled")
    assert "the factory gave no torch module" in refused(one(tmp_path))


def test_a_head_that_is_not_there_is_named(tmp_path: Path) -> None:
    describe(tmp_path, "mine", "headed", 'head = "classifier"')
    assert refused(one(tmp_path)) == "there is no head 'classifier'; the model has 0, 1, 2"
