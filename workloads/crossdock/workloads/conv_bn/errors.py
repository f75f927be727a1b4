"""Why a model is not converted as asked."""

from __future__ import annotations

from crossdock.proxy.errors import ArgumentError


class NoBatchNorm(ArgumentError):
    """The model has no BatchNorm module: no mode would change it."""


class ModelNotCopied(ArgumentError):
    """The model holds what cannot be copied; the message says what, and the way round it."""


class DeployStepWarning(UserWarning):
    """Weights were folded: a step of an optimizer on them is not one on those they came from."""
