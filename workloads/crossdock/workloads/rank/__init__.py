"""Which of many models to transfer to a data set: scores of their features, without training.

``score_features`` is the plain API; ``crossdock run rank`` does the same for a folder of models.
"""

from crossdock.workloads.rank.errors import ModelFailed, NotAvailable
from crossdock.workloads.rank.scores import SCORES, Score
from crossdock.workloads.rank.scoring import Scored, score_features, score_folds
from crossdock.workloads.rank.summary import Summary, merge, summarise

__all__ = [
    "SCORES",
    "ModelFailed",
    "NotAvailable",
    "Score",
    "Scored",
    "Summary",
    "merge",
    "score_features",
    "score_folds",
    "summarise",
]
