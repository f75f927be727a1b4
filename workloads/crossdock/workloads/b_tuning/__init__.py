"""B-Tuning: fine-tune a pre-trained model with the best of others as teachers.

You, Liu, Wang, Jordan and Long, "Ranking and Tuning Pre-trained Models: A New Paradigm for
Exploiting Model Hubs", JMLR 23 (2022).
"""

from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.b_tuning.evidence import Evidence
from crossdock.workloads.b_tuning.fine_tuning import FineTuning
from crossdock.workloads.b_tuning.targets import TargetCache
from crossdock.workloads.b_tuning.taught import BTuning, FeatureDistillation
from crossdock.workloads.b_tuning.training import Recipe

__all__ = [
    "BTuning",
    "Backbone",
    "Evidence",
    "FeatureDistillation",
    "FineTuning",
    "Recipe",
    "TargetCache",
]
