"""LEEP and NCE: how well the model's own labels tell the new ones."""

from __future__ import annotations

import numpy as np

from crossdock.workloads.rank.errors import NotAvailable
from crossdock.workloads.rank.summary import Summary


def leep(summary: Summary) -> float:
    """Mean log likelihood, in nats, of the empirical predictor; at most 0, larger is better.

    Nguyen et al., *LEEP: A New Measure to Evaluate Transferability of Learned Representations*
    (ICML 2020), eq. 2: p(y|z) from the sum of source probabilities over all rows, then the mean of
    log sum_z p(y|z) theta(x)_z; the mean is over the sampled rows.

    Raises:
        NotAvailable: without source probabilities.
    """
    if summary.head is None or summary.probabilities is None:
        raise NotAvailable("the model has no head that gives source probabilities")
    if not len(summary.labels):
        raise NotAvailable("no row was sampled")
    totals = summary.head.sum(0)
    given = summary.head / np.where(totals > 0, totals, 1)
    likelihood = np.einsum("nz,nz->n", given[summary.labels], summary.probabilities)
    return float(np.log(likelihood).mean())


def nce(summary: Summary) -> float:
    """Minus the conditional entropy of labels given source labels, in nats; at most 0.

    Tran et al., *Transferability and Hardness of Supervised Classification Tasks* (ICCV 2019):
    the source label of a row is the one its head finds most likely.

    Raises:
        NotAvailable: without source labels.
    """
    if summary.votes is None:
        raise NotAvailable("the model has no head that gives source labels")
    joint = summary.votes / summary.rows
    source = joint.sum(0)
    given = joint / np.where(source > 0, source, 1)
    return float((joint * np.log(np.where(joint > 0, given, 1))).sum())
