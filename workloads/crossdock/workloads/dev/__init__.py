"""Deep Embedded Validation: which model is best on a target without labels (You et al., ICML 2019).

A discriminator between source and target features gives density ratios; they weigh the losses of
held-out source samples, and serve as control variates of that mean. Needs no Ray.
"""

from crossdock.workloads.dev.discriminators import Logistic, Mlp
from crossdock.workloads.dev.estimator import DEV
from crossdock.workloads.dev.risk import DevRisk, DevSums, dev_risk

__all__ = ["DEV", "DevRisk", "DevSums", "Logistic", "Mlp", "dev_risk"]
