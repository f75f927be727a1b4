"""Networks that the field measures by, as their papers have them, without weights."""

from collections.abc import Callable

from torch import nn

from crossdock.workloads.conv_bn.networks.decoder import decoder
from crossdock.workloads.conv_bn.networks.densenet import densenet121
from crossdock.workloads.conv_bn.networks.mobilenet import mobilenet_v2
from crossdock.workloads.conv_bn.networks.resnet import resnet18, resnet50

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
    "densenet121": densenet121,
    "decoder": decoder,
}
"""By name; all take (N, 3, H, W)."""

__all__ = ["NETWORKS", "decoder", "densenet121", "mobilenet_v2", "resnet18", "resnet50"]
