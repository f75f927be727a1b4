"""MobileNetV2 (Sandler et al., CVPR 2018)."""

from __future__ import annotations

from torch import Tensor, nn

_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and the stride of the first."""
_LAST = 1280


def mobilenet_v2(classes: int = 1000) -> nn.Module:
    """Of inverted residuals; 3.5 million parameters."""
    layers: list[nn.Module] = [_conv_bn(3, 32, 3, 2)]
    inputs = 32
    for expansion, channels, depth, stride in _STAGES:
        for place in range(depth):
            layers.append(_Inverted(inputs, channels, 1 if place else stride, expansion))
            inputs = channels
    layers.append(_conv_bn(inputs, _LAST, 1, 1))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(_LAST, classes)]
    return nn.Sequential(nn.Sequential(*layers), nn.Sequential(*head))


class _Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [_conv_bn(inputs, hidden, 1, 1)] if expansion != 1 else []
        layers.append(_conv_bn(hidden, hidden, 3, stride, groups=hidden))
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


def _conv_bn(inputs: int, outputs: int, size: int, stride: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )
