"""LogME, as a score among others; the method is ``crossdock.workloads.logme``."""

from __future__ import annotations

from crossdock.workloads.rank.summary import Summary


def logme(summary: Summary) -> float:
    """The logarithm of the maximum evidence over rows and classes, in nats; larger is better.

    Raises:
        DataRefused: a class has no rows, or the features do not vary.
    """
    from crossdock.workloads.logme import LogME  # and seconds of scikit-learn; see n_leep

    return LogME().fit_statistics([summary.statistics]).score_
