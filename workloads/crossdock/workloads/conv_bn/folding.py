"""Deploy mode: s w and beta + s (b - mu) become the parameters, and the BN is gone."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import torch
from torch import nn

from crossdock.workloads.conv_bn import layers
from crossdock.workloads.conv_bn.formula import folded_bias, folded_weight, scale
from crossdock.workloads.conv_bn.fused import block_of
from crossdock.workloads.conv_bn.geometry import Geometry
from crossdock.workloads.conv_bn.survey import Layer, Survey


class Folder:
    """Folds pairs of a model of which nothing else uses a part."""

    def __init__(self, model: nn.Module, found: Survey) -> None:
        self._model, self._calls = model, found.calls
        modules = list(model.modules())
        self._places = Counter(
            child for module in modules for child in module._modules.values() if child is not None
        )
        self._owners = Counter(
            id(one) for module in modules for one in module._parameters.values() if one is not None
        )

    def against(self, layer: Layer) -> str | None:
        """Why a pair must not be folded; None if it may."""
        for name, module in ((layer.conv_name, layer.conv), (layer.norm_name, layer.norm)):
            if self._calls[module] != 1 or self._places[module] != 1:
                return f"{name} is used in several places"
            if any(self._owners[id(one)] > 1 for one in module.parameters(recurse=False)):
                return f"{name} shares a parameter with another module"
            if layers.hooked(module):
                return f"hooks wait for {name}"
        return None

    def fold(self, layer: Layer) -> None:
        """Change the convolution, and put an identity in the BN's place."""
        conv, norm = cast(Any, layer.conv), cast(Any, layer.norm)
        block = block_of(conv, norm)
        trained = [one.requires_grad for one in block[1:4] if one is not None]
        with torch.no_grad():
            factor = scale(block, norm.eps)
            kernel = folded_weight(block, factor, _geometry(conv)).to(block.weight.dtype)
            offset = folded_bias(block, factor).to(block.weight.dtype)
        weight_trained = block.weight.requires_grad
        conv.weight = nn.Parameter(kernel, requires_grad=weight_trained)
        conv.bias = nn.Parameter(offset, requires_grad=any(trained) or weight_trained)
        parent, _, name = layer.norm_name.rpartition(".")
        setattr(self._model.get_submodule(parent), name, nn.Identity())


def _geometry(conv: Any) -> Geometry | None:
    """As far as it decides where output channels are in the weight."""
    if isinstance(conv, nn.Linear):
        return None
    return Geometry((), (), (), bool(conv.transposed), (), conv.groups)
