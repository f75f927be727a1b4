"""DenseNet (Huang et al., CVPR 2017): BN before its convolution, and behind concatenations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_GROWTH, _NECK, _STEM = 32, 4, 64


def densenet121(classes: int = 1000) -> nn.Module:
    """Of four dense blocks; 8.0 million parameters."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, _STEM, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(_STEM),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    width, depths = _STEM, (6, 12, 24, 16)
    for number, depth in enumerate(depths):
        layers.append(_Block(width, depth))
        width += depth * _GROWTH
        if number < len(depths) - 1:
            layers.append(_transition(width))
            width //= 2
    layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(nn.Sequential(*layers), nn.Linear(width, classes))


class _Layer(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, _NECK * _GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(_NECK * _GROWTH)
        self.conv2 = nn.Conv2d(_NECK * _GROWTH, _GROWTH, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, known: list[Tensor]) -> Tensor:
        neck = self.conv1(self.relu(self.norm1(torch.cat(known, 1))))
        out: Tensor = self.conv2(self.relu(self.norm2(neck)))
        return out


class _Block(nn.Module):
    def __init__(self, inputs: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(inputs + place * _GROWTH) for place in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        known = [x]
        for layer in self.layers:
            known.append(layer(known))
        return torch.cat(known, 1)


def _transition(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width // 2, 1, bias=False),
        nn.AvgPool2d(2, stride=2),
    )
