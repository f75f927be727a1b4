"""Whole adaptations in this process: they adapt, resume, and keep what selectors chose."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.workloads.partial_da.cases import domains, recipe, task

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.partial_da import ETN, PADA, SAN, SourceOnly, fit
from crossdock.workloads.partial_da.adaptation import Adaptation
from crossdock.workloads.partial_da.selection import Picks, auroc, default_dev


def test_checks_tell_what_is_known() -> None:
    told: list[float] = []
    adapted = fit(task(ETN(), dev=default_dev()), told=lambda line: told.append(line["step"]))
    assert told == [4, 8]
    last = adapted.history[-1]
    right = adapted.predict(domains().target) == adapted.classes[domains().target_labels]
    assert last["target_error"] == pytest.approx(1 - right.mean())
    assert {"source_loss", "source_accuracy", "weight_auroc", "loss: auxiliary label"} <= set(last)
    assert adapted.weights is not None
    assert adapted.weights.mean() == pytest.approx(1)
    shared = np.isin(domains().labels, [0, 1])
    assert auroc(adapted.weights, shared) == pytest.approx(last["weight_auroc"])


def test_without_target_labels_nothing_is_said_of_the_target() -> None:
    adapted = fit(task(PADA(), domains=domains(target_labels=None)))
    assert not {"target_error", "weight_auroc"} & set(adapted.history[-1])
    assert "oracle" not in adapted.lines
    labelled = fit(task(PADA()))
    for name, value in labelled.network.state_dict().items():
        assert torch.equal(value, adapted.network.state_dict()[name]), "labels decide nothing"


def test_a_file_is_gone_on_with_to_the_bit(tmp_path: Path) -> None:
    file = tmp_path / "adaptation.pt"
    whole = fit(task(SAN(), dev=default_dev()))
    cut = Adaptation(task(SAN(), dev=default_dev()))
    cut.advance()
    torch.save(cut.state(), file)
    told: list[float] = []
    rest = fit(
        task(SAN(), dev=default_dev()), file=file, told=lambda line: told.append(line["step"])
    )
    assert told == [8]
    assert rest.history == whole.history
    assert rest.lines == whole.lines
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, rest.network.state_dict()[name])


def test_the_lowest_is_picked_the_later_of_equals_and_never_what_is_not_known() -> None:
    picks = Picks()
    for step, (source, dev) in enumerate([(2.0, None), (1.0, 5.0), (1.0, 4.0), (3.0, 6.0)]):
        line = {"step": float(step), "source_loss": source, "target_error": float(step == 0)}
        if dev is not None:
            line["dev_risk"] = dev
        picks.consider(line, {"w": torch.tensor([float(step)])})
    steps = {name: line["step"] for name, line in picks.lines.items()}
    assert steps == {"source validation": 2, "dev": 2, "oracle": 3}
    assert {name: one["w"].item() for name, one in picks.networks.items()} == {
        "source validation": 2,
        "dev": 2,
    }


def test_predictions_come_from_the_checkpoint_that_is_asked_for() -> None:
    adapted = fit(task(SourceOnly()))
    picked = {name: torch.zeros_like(one) for name, one in adapted.network.state_dict().items()}
    adapted.picks.networks["source validation"] = picked
    before = adapted.predict_proba(domains().target)
    flat = adapted.predict_proba(domains().target, "source validation")
    np.testing.assert_allclose(flat, 1 / 3)
    np.testing.assert_array_equal(adapted.predict_proba(domains().target), before)
    with pytest.raises(ArgumentError, match="no checkpoint by 'oracle'; there are last"):
        adapted.predict(domains().target, "oracle")


def test_weights_find_the_class_that_the_target_lacks() -> None:
    for method in (PADA(), SAN(), ETN(auxiliary_domain=1.0)):
        adapted = fit(task(method, recipe=recipe(steps=150, check_every=150, estimate_every=10)))
        line = adapted.history[-1]
        assert line["weight_auroc"] > 0.9
        assert line["target_error"] < 0.1


def test_auroc_counts_pairs() -> None:
    weights, shared = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert auroc(weights, shared) == (1 + 1 + 0 + 0.5) / 4
    with pytest.raises(ArgumentError, match="all are of one kind"):
        auroc(weights, np.ones(4, bool))


def test_tasks_of_one_seed_are_the_same() -> None:
    one, other = (fit(task(SAN(), seed=seed)) for seed in (3, 4))
    again = fit(dataclasses.replace(task(SAN()), seed=3))
    assert torch.equal(one.network.head.weight, again.network.head.weight)
    assert not torch.equal(one.network.head.weight, other.network.head.weight)
