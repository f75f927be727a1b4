"""N-LEEP: LEEP with a mixture of Gaussians in place of the model's head."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crossdock.workloads.rank.errors import NotAvailable
from crossdock.workloads.rank.scores.leep import leep
from crossdock.workloads.rank.summary import Summary, merge

COMPONENTS_PER_CLASS = 5
ENERGY = 0.8
"""Share of the variance that principal components keep."""
_SEED = 0


def n_leep(summary: Summary) -> float:
    """LEEP of the posteriors of a Gaussian mixture over principal components, of sampled rows.

    Li et al., *Ranking Neural Checkpoints* (CVPR 2021): principal components that keep 80 % of the
    variance, five components a class. The mixture starts from k-means with a fixed seed.

    Raises:
        NotAvailable: with fewer sampled rows than mixture components, or features that do not vary.
    """
    return leep(merge(with_mixture([summary])))


def with_mixture(folds: Sequence[Summary]) -> list[Summary]:
    """The folds' sampled rows, with posteriors of one mixture over all of them as their head.

    The intervals of N-LEEP keep this mixture: to fit it again for each fold left out would cost as
    many fits.
    """
    # Workers that run models import this module, and seconds of scikit-learn for nothing.
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    whole = merge(folds)
    components = COMPONENTS_PER_CLASS * int((whole.counts > 0).sum())
    if len(whole.features) < components:
        raise NotAvailable(
            f"{len(whole.features)} sampled rows for {components} mixture components; "
            "sample more rows"
        )
    if not (np.ptp(whole.features, axis=0) > 0).any():
        raise NotAvailable("no feature varies over the sampled rows")
    reduction = PCA(n_components=ENERGY, svd_solver="full").fit(whole.features)
    mixture = GaussianMixture(components, random_state=_SEED)
    with warnings.catch_warnings():
        # More components than clusters, or a hundred rounds used up: the fit is what it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(reduction.transform(whole.features))
    headed = []
    for fold in folds:
        posteriors = (
            mixture.predict_proba(reduction.transform(fold.features))
            if len(fold.features)
            else np.zeros((0, components))
        )
        one_hot = np.eye(len(fold.counts))[fold.labels]
        headed.append(replace(fold, head=one_hot.T @ posteriors, probabilities=posteriors))
    return headed
