"""LogME: how well features of a model explain labels, without training.

The score is the logarithm of the greatest evidence of a Bayesian linear model from features to
labels, over the number of samples, in the mean over classes (You, Liu, Wang and Long, "LogME:
Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021).
"""

from crossdock.workloads.logme.estimator import LogME
from crossdock.workloads.logme.kernels import Kernel
from crossdock.workloads.logme.warnings import IllConditioned, NoInterval

__all__ = ["IllConditioned", "Kernel", "LogME", "NoInterval"]
