"""The whole loss of each method in float64 against the paper's formula, written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.workloads.partial_da import plain

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.partial_da import (
    AFN,
    DANN,
    ETN,
    IWAN,
    METHODS,
    PADA,
    SAN,
    Method,
    SANPlusPlus,
    SourceOnly,
)
from crossdock.workloads.partial_da.methods import made
from crossdock.workloads.partial_da.methods.base import Batch, Objective, Outputs
from crossdock.workloads.partial_da.networks import ClasswiseDiscriminators

Tensor = torch.Tensor
WIDTH, CLASSES, ROWS = 5, 3, 7
PROGRESS = 0.3


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch() -> Batch:
    near, far = drawn(ROWS, WIDTH, seed=1), drawn(ROWS + 1, WIDTH, seed=2)
    head = drawn(WIDTH, CLASSES, seed=3)
    near.requires_grad_()
    far.requires_grad_()
    return Batch(
        source=Outputs(near, near @ head),
        labels=torch.tensor([0, 1, 2, 0, 1, 2, 2]),
        target=Outputs(far, far @ head),
        progress=PROGRESS,
        class_weights=torch.tensor([1.0, 0.6, 0.1], dtype=torch.float64),
    )


def objective(method: Method) -> Objective:
    torch.manual_seed(0)
    return method.objective(WIDTH, CLASSES).double()


def chances(logits: Tensor) -> Tensor:
    return torch.stack([plain.softmax(z) for z in logits.detach()])


def ones(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.float64)


def unmixed(own: Objective, name: str, given: Batch) -> tuple[Tensor, Tensor]:
    """Logits of a net with one output, for source and target."""
    net = getattr(own, name)
    return net(given.source.features)[:, 0], net(given.target.features)[:, 0]


def held(own: Objective, name: str, given: Batch) -> tuple[Tensor, Tensor]:
    """Of features that are not to learn from it."""
    net = getattr(own, name)
    return net(given.source.features.detach()), net(given.target.features.detach())


def source_only(own: Objective, given: Batch) -> dict[str, Tensor]:
    return {"classification": plain.cross_entropy(given.source.logits, given.labels, ones(ROWS))}


def dann(own: Objective, given: Batch) -> dict[str, Tensor]:
    near, far = unmixed(own, "domain", given)
    return source_only(own, given) | {"adversary": plain.domain(near, far, ones(ROWS))}


def pada(own: Objective, given: Batch) -> dict[str, Tensor]:
    weights = given.class_weights[given.labels]
    near, far = unmixed(own, "domain", given)
    return {
        "classification": plain.cross_entropy(given.source.logits, given.labels, weights),
        "adversary": plain.domain(near, far, weights),
    }


def iwan(own: Objective, given: Batch) -> dict[str, Tensor]:
    seen, unseen = (logits[:, 0] for logits in held(own, "weigher", given))
    near, far = unmixed(own, "domain", given)
    weights = 1 - plain.sigmoid(seen.detach())
    return source_only(own, given) | {
        "weigher": plain.domain(seen, unseen, ones(ROWS)),
        "adversary": plain.domain(near, far, weights),
        "entropy": 0.1 * plain.entropy(given.target.logits),
    }


def afn(own: Objective, given: Batch) -> dict[str, Tensor]:
    near, far = given.source.features, given.target.features
    grown = plain.norm_step(near, 1.0) + plain.norm_step(far, 1.0)
    return source_only(own, given) | {"norms": 0.05 * grown}


def each_alone(own: Objective, features: Tensor) -> Tensor:
    """K discriminators, one after the other, row by row."""
    nets = own.domains
    assert isinstance(nets, ClasswiseDiscriminators)
    columns = []
    for k in range(CLASSES):
        hidden = torch.relu(features @ nets.first[k] + nets.first_bias[k])
        columns.append(hidden @ nets.last[k] + nets.last_bias[k])
    return torch.cat(columns, dim=1)


def san(own: Objective, given: Batch) -> dict[str, Tensor]:
    near, far = (each_alone(own, one.features) for one in (given.source, given.target))
    sure, unsure = (chances(one.logits) for one in (given.source, given.target))
    return source_only(own, given) | {
        "adversary": plain.classwise_domain(near, far, sure, unsure, given.class_weights),
        "entropy": 0.1 * plain.entropy(given.target.logits),
    }


def of_their_class(values: Tensor, labels: Tensor) -> Tensor:
    """Each by the mean of those with the same label."""
    means = [values[labels == label].mean() for label in labels]
    return values / torch.stack(means)


def san_plus_plus(own: Objective, given: Batch) -> dict[str, Tensor]:
    seen, unseen = (logits[:, 0] for logits in held(own, "weigher", given))
    trusted = of_their_class(1 - plain.sigmoid(seen.detach()), given.labels)
    weights = given.class_weights[given.labels] * trusted
    net = own.domain
    assert isinstance(net, torch.nn.Module)
    near, far = net(given.source.features), net(given.target.features)
    at_label = torch.zeros(ROWS, CLASSES, dtype=torch.float64)
    for row, label in enumerate(given.labels.tolist()):
        at_label[row, label] = weights[row]
    predicted = chances(given.target.logits)
    guessed = predicted.argmax(1)
    sure = given.class_weights[guessed] * predicted.max(1).values
    taught = plain.cross_entropy(given.target.logits, guessed, sure)
    return {
        "classification": plain.cross_entropy(given.source.logits, given.labels, weights),
        "weigher": plain.domain(seen, unseen, ones(ROWS)),
        "adversary": plain.conditional_domain(near, far, at_label, given.class_weights * predicted),
        "self-training": 0.5 * plain.ramp(PROGRESS) * taught,
    }


def etn(own: Objective, given: Batch) -> dict[str, Tensor]:
    known, unknown = held(own, "auxiliary", given)
    seen, unseen = plain.leaky_domain_chance(known), plain.leaky_domain_chance(unknown)
    weights = 1 - seen.detach()
    near, far = unmixed(own, "domain", given)
    told = [plain.bce(s, 1) for s in seen], [plain.bce(s, 0) for s in unseen]
    auxiliary = sum(told[0]) / len(seen) + sum(told[1]) / len(unseen)
    assert isinstance(auxiliary, Tensor)
    return {
        "classification": plain.cross_entropy(given.source.logits, given.labels, weights),
        "adversary": plain.domain(near, far, weights),
        "entropy": 0.2 * plain.entropy(given.target.logits),
        "auxiliary domain": 10 * auxiliary,
        "auxiliary label": plain.leaky_one_vs_rest(known, given.labels),
    }


FORMULAS: dict[Method, Callable[[Objective, Batch], dict[str, Tensor]]] = {
    SourceOnly(): source_only,
    DANN(adversary=0.7): dann,
    PADA(adversary=0.7): pada,
    IWAN(adversary=0.7, entropy=0.1): iwan,
    AFN(norms=0.05, step=1.0): afn,
    SAN(adversary=0.7, entropy=0.1): san,
    SANPlusPlus(adversary=0.7, self_training=0.5): san_plus_plus,
    ETN(adversary=0.7, entropy=0.2, auxiliary_domain=10.0, auxiliary_label=1.0): etn,
}


def test_all_methods_have_a_formula() -> None:
    assert {method.name for method in FORMULAS} == set(METHODS)


@pytest.mark.parametrize("method", FORMULAS, ids=lambda method: method.name)
def test_terms_and_gradients_are_those_of_the_formula(method: Method) -> None:
    """The adversary's gradient comes back to the features turned, and to its nets as it is."""
    own, given, other = objective(method), batch(), batch()
    ours, theirs = own.terms(given), FORMULAS[method](own, other)
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-11, atol=1e-12, msg=name)
    parameters = list(own.parameters())
    turned = -0.7 * plain.ramp(PROGRESS)
    for name in ours:
        leaves = [given.source.features, given.target.features, *parameters]
        wanted = [other.source.features, other.target.features, *parameters]
        got = torch.autograd.grad(ours[name], leaves, allow_unused=True, retain_graph=True)
        want = torch.autograd.grad(theirs[name], wanted, allow_unused=True, retain_graph=True)
        for place, (one, two) in enumerate(zip(got, want, strict=True)):
            assert (one is None) == (two is None), (name, place)
            if one is None or two is None:
                continue
            factor = turned if name == "adversary" and place < 2 else 1.0
            torch.testing.assert_close(one, factor * two, rtol=1e-8, atol=1e-11, msg=name)


@pytest.mark.parametrize("method", [PADA(), IWAN(), SAN(), SANPlusPlus(), ETN()])
def test_weights_of_source_examples_are_those_of_the_loss(method: Method) -> None:
    own, given = objective(method), batch()
    with torch.no_grad():
        weights = own.source_weights(given.source, given.labels, given.class_weights)
    assert weights is not None
    assert weights.shape == (ROWS,)
    seen = getattr(own, "weigher", getattr(own, "auxiliary", own))
    gamma = given.class_weights[given.labels]
    with torch.no_grad():
        expected = {
            "pada": lambda: gamma,
            "iwan": lambda: 1 - plain.sigmoid(seen(given.source.features)[:, 0]),
            "san": lambda: (chances(given.source.logits) * given.class_weights).sum(1),
            "san++": lambda: (
                gamma
                * of_their_class(1 - plain.sigmoid(seen(given.source.features)[:, 0]), given.labels)
            ),
            "etn": lambda: 1 - plain.leaky_domain_chance(seen(given.source.features)),
        }[method.name]()
    torch.testing.assert_close(weights, expected)


def test_only_the_reconstruction_says_so() -> None:
    assert [name for name, kind in METHODS.items() if kind.reconstruction] == ["san++"]
    assert SANPlusPlus().title == "san++ (reconstruction)"
    assert "reconstruction" in (SANPlusPlus.__doc__ or "")


def test_settings_come_from_text() -> None:
    assert made("etn", ["entropy=0.3", "hidden=8"]) == ETN(entropy=0.3, hidden=8)
    for name, setting, message in (
        ("sam", "", "method 'sam' is unknown; choose from source-only, dann"),
        ("etn", "speed=1", "etn has no setting 'speed'; its settings are adversary, hidden"),
        ("etn", "hidden=much", "'hidden=much' is no setting of etn"),
        ("etn", "entropy=-1", "entropy of etn is -1.0; give a finite number"),
        ("etn", "hidden=0", "hidden of etn is 0, but 1 is the least"),
        ("etn", "entropy=nan", "entropy of etn is nan"),
    ):
        with pytest.raises(ArgumentError, match=message):
            made(name, [setting])
