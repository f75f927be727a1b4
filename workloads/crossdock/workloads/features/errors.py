"""Why features or labels are refused."""

from __future__ import annotations

from crossdock.proxy.errors import ArgumentError


class DataRefused(ArgumentError):
    """Features or labels that no score can be made of; base of the errors below."""


class NotFinite(DataRefused):
    """Features or labels hold a NaN or an infinity; the message names the first."""


class WrongShape(DataRefused):
    """An array has the wrong number of dimensions, of rows or of columns, or holds no numbers."""


class TooFewSamples(DataRefused):
    """There are fewer samples than the score needs."""


class EmptyClass(DataRefused):
    """A class that was named has no sample, or a sample has a class that was not named."""


class OneClass(DataRefused):
    """All samples have one class: there is nothing to tell apart."""


class ZeroVariance(DataRefused):
    """All features, or a column of targets, are the same in every sample."""
