"""What the study raises."""

from __future__ import annotations

from crossdock.proxy.errors import ArgumentError, CrossdockError


class ClassMissing(ArgumentError):
    """A class has no samples, so that nothing can be learnt or said of it."""


class TrainingDiverged(CrossdockError, ArithmeticError):
    """The loss of a training is no number any more; the message says when."""
