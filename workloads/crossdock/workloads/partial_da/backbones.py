"""Where backbones come from: small ones built in, those of `crossdock run rank`, or one's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from crossdock.proxy.errors import ArgumentError
from crossdock.workloads.b_tuning.backbone import Backbone
from crossdock.workloads.b_tuning.described import backbone_of
from crossdock.workloads.partial_da.networks import BUILT_IN, built_in
from crossdock.workloads.rank import models
from crossdock.workloads.rank.models import Model

Source = str | Model | Backbone
"""``mlp`` or ``cnn``; a description that is built where it runs; a module that gives features."""


def found(place: str) -> Source:
    """A built-in name, or the one model of a folder, LIBRARY:NAME or MODULE:FUNCTION.

    Raises:
        ArgumentError: there is none, there are several, or its description is wrong.
    """
    if place in BUILT_IN:
        return place
    listed = models.find((place,))
    if len(listed) > 1:
        names = ", ".join(one.name if isinstance(one, Model) else one.key for one in listed)
        raise ArgumentError(f"{place} has several models ({names}); name a folder with one")
    (model,) = listed
    if not isinstance(model, Model):
        raise ArgumentError(f"backbone {model.key}: {model.reason}")
    return model


def built(source: Source, shape: Sequence[int]) -> Backbone:
    """The backbone for inputs (B, *shape); what chance it takes is torch's.

    Raises:
        ArgumentError: no such name, or inputs that do not suit it.
        ModelFailed: a described model cannot be built.
    """
    if isinstance(source, str):
        return built_in(source, shape)
    if isinstance(source, Model):
        return backbone_of(source)
    return source.copied(torch.device("cpu"))
