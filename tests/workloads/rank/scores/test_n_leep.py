"""N-LEEP: against LEEP's definition over scikit-learn's mixture."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from tests.workloads.rank.problems import problem

from crossdock.workloads.rank import NotAvailable, score_features, summarise
from crossdock.workloads.rank.scores import n_leep


def test_it_is_leep_of_the_mixture_over_components_that_keep_the_energy() -> None:
    own = problem()
    pca = PCA().fit(own.features)
    kept = int((np.cumsum(pca.explained_variance_ratio_) <= 0.8).sum()) + 1
    reduced = pca.transform(own.features)[:, :kept]
    mixture = GaussianMixture(5 * own.classes, random_state=0).fit(reduced)
    theta = mixture.predict_proba(reduced)
    joint = np.stack([theta[own.labels == c].sum(0) for c in range(own.classes)])
    given = joint / joint.sum(0)
    expected = np.mean([np.log(given[y] @ t) for y, t in zip(own.labels, theta, strict=True)])
    got = n_leep(summarise(own.features, own.labels, classes=own.classes))
    assert got == pytest.approx(float(expected), rel=1e-9)


def test_it_needs_no_head_and_has_an_interval() -> None:
    own = problem()
    scored = score_features(own.features, own.labels, scores=["n_leep"])["n_leep"]
    assert scored.value is not None
    assert scored.half_width is not None
    assert 0 < scored.half_width < abs(scored.value)


def test_fewer_rows_than_components_are_refused() -> None:
    own = problem(rows=19)
    with pytest.raises(NotAvailable, match="19 sampled rows for 20 mixture components"):
        n_leep(summarise(own.features, own.labels, classes=own.classes))


def test_constant_features_are_refused() -> None:
    with pytest.raises(NotAvailable, match="varies"):
        n_leep(summarise(np.ones((40, 3)), np.arange(40) % 2, classes=2))
