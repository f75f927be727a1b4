"""Which checkpoint is taken: by source validation or by DEV. Target labels only make an oracle."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from sklearn.base import clone

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.dev import DEV
from crossdock.workloads.partial_da.training import Training, outputs_of

LAST, SOURCE, BY_DEV, ORACLE = "last", "source validation", "dev", "oracle"
SELECTORS: Mapping[str, str] = {
    SOURCE: "source_loss",
    BY_DEV: "dev_risk",
    ORACLE: "target_error",
}
"""Selectors, and the figure of a check that each wants to be low. The oracle is no method: it shows
what choosing by target labels, as published code does, would have told."""

Line = dict[str, float]


def default_dev() -> DEV:
    """DEV for checkpoints: fewer folds than for a final judgement, since there are many."""
    return DEV(folds=3, decays=(1e-1, 1e-2, 1e-3))


@dataclass
class Picks:
    """The best checkpoint so far by each selector."""

    lines: dict[str, Line] = field(default_factory=dict)
    """The check that each selector likes best."""
    networks: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    """State dictionaries of these, but of the oracle's."""

    def consider(self, line: Line, network: dict[str, torch.Tensor]) -> None:
        """Take a checkpoint where it is better than the best; of equals the later stays."""
        for selector, figure in SELECTORS.items():
            value = line.get(figure, math.nan)
            if math.isnan(value):
                continue
            if selector not in self.lines or value <= self.lines[selector][figure]:
                self.lines[selector] = line
                if selector != ORACLE:
                    self.networks[selector] = copy.deepcopy(network)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"lines": self.lines, "networks": self.networks}


def check(training: Training, dev: DEV | None) -> Line:
    """What is known of the network as it is now; figures that cannot be told are left out.

    `source_loss` and `source_accuracy` on what was held out; `dev_risk`, unless DEV is None or
    refuses; with target labels `target_error`, and `weight_auroc`, how well the weights of source
    examples tell shared from outlier classes.

    Raises:
        ArgumentError: what DEV refuses.
    """
    network, domains = training.network, training.domains
    device, dtype = network.head.weight.device, network.head.weight.dtype

    def put(inputs: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.require(inputs, requirements="W")).to(device, dtype)

    held = outputs_of(network, put(domains.validation))
    far = outputs_of(network, put(domains.target))
    near = outputs_of(network, put(domains.source))
    labels = torch.from_numpy(domains.validation_labels).to(device)
    each = torch.nn.functional.cross_entropy(held.logits, labels, reduction="none")
    line: Line = {
        "step": float(training.step),
        "source_loss": float(each.mean()),
        "source_accuracy": float((held.logits.argmax(1) == labels).double().mean()),
    }
    if dev is not None:
        fitted = clone(dev).fit(near.features.cpu().numpy(), far.features.cpu().numpy())
        risk = fitted.risk(held.features.cpu().numpy(), each.cpu().numpy())
        if risk.status == "ok":
            line["dev_risk"] = float(risk.risk)
    if domains.target_labels is not None:
        guessed = far.logits.argmax(1).cpu().numpy()
        line["target_error"] = float((guessed != domains.target_labels).mean())
    weights = weights_of(training)
    if weights is not None and domains.shared is not None and not domains.shared.all():
        line["weight_auroc"] = auroc(weights, domains.shared[domains.labels])
    return line


@torch.no_grad()
def weights_of(training: Training) -> np.ndarray | None:
    """Weights (N,) of source examples, float64, mean 1; None where the method has none."""
    domains, network = training.domains, training.network
    weight = network.head.weight
    inputs = torch.from_numpy(np.require(domains.source, requirements="W")).to(weight)
    labels = torch.from_numpy(domains.labels).to(weight.device)
    training.objective.eval()
    given = training.objective.source_weights(
        outputs_of(network, inputs), labels, training.class_weights
    )
    if given is None:
        return None
    values = given.double().cpu().numpy()
    return np.asarray(values / values.mean())


def auroc(weights: np.ndarray, shared: np.ndarray) -> float:
    """Chance that a shared example (n,) weighs more than an outlier; ties count half."""
    if shared.all() or not shared.any():
        raise ArgumentError("AUROC needs shared and outlier examples; all are of one kind")
    more, less = weights[shared], weights[~shared]
    return float(mannwhitneyu(more, less).statistic / (len(more) * len(less)))
