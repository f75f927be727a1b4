"""A small network of transposed convolutions, as decoders and generators have them."""

from __future__ import annotations

from torch import nn


def decoder(channels: int = 3) -> nn.Module:
    """Down by four and up again; grouped, strided, with output padding; 0.2 million parameters."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, groups=4),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(64, 64, 3, stride=2, padding=1, output_padding=1, groups=8),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(32, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
    )
