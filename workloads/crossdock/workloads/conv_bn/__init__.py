"""Tune mode for convolutions followed by BatchNorm (You et al., ICLR 2024).

Where a BN normalises by what it has learnt of batches, it is one operation with the convolution
before it, and its input need not be kept for the backward pass; parameters and gradients stay those
of the two. Needs no Ray.
"""

from crossdock.workloads.conv_bn.convert import Mode, convert, tune_mode
from crossdock.workloads.conv_bn.errors import DeployStepWarning, ModelNotCopied, NoBatchNorm
from crossdock.workloads.conv_bn.fused import Way
from crossdock.workloads.conv_bn.report import Line, Report, report_of
from crossdock.workloads.conv_bn.survey import Layer

__all__ = [
    "DeployStepWarning",
    "Layer",
    "Line",
    "Mode",
    "ModelNotCopied",
    "NoBatchNorm",
    "Report",
    "Way",
    "convert",
    "report_of",
    "tune_mode",
]
