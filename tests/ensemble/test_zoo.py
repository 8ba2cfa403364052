"""One network per family of torchvision: sites, exact actions, a planted non-symmetry, batch action, strict loading.

The smallest of each family; families whose smallest has tens of millions of parameters are built narrower or shallower
from the same classes. `benchmarks/zoo.py` examines all of them at full size.
Seen to fail: riders not acted on; a stream's writer left out; queries multiplied by a, not by its inverse transpose.
"""

from collections.abc import Callable

import pytest
from torch import nn

from benchmarks.zoo import build, examine_network, families, names
from service.catalogue.torchvision_compat import import_torchvision

SMALL = (
    "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5", "mobilenet_v2",
    "mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5",
    "squeezenet1_1",
)  # fmt: skip


def _models() -> nn.Module:
    return import_torchvision().models


def _alexnet() -> tuple[nn.Module, int]:
    network = _models().AlexNet()
    network.avgpool, network.classifier[1] = nn.AdaptiveAvgPool2d(1), nn.Linear(256, 512)
    network.classifier[4], network.classifier[6] = nn.Linear(512, 512), nn.Linear(512, 10)
    return network, 64


def _vgg() -> tuple[nn.Module, int]:
    network = _models().VGG(_models().vgg.make_layers([16, "M", 32, "M", 32], batch_norm=True), init_weights=False)
    network.avgpool, network.classifier[0] = nn.AdaptiveAvgPool2d(2), nn.Linear(128, 256)
    network.classifier[3], network.classifier[6] = nn.Linear(256, 256), nn.Linear(256, 10)
    return network, 32


def _convnext() -> tuple[nn.Module, int]:
    config = _models().convnext.CNBlockConfig
    return _models().ConvNeXt([config(24, 48, 2), config(48, None, 2)], num_classes=10), 64


def _maxvit() -> tuple[nn.Module, int]:
    network = _models().MaxVit((56, 56), 16, 7, [16, 32], [1, 1], 8, 0.0, num_classes=10)
    return network, 56


def _swin(block: str) -> tuple[nn.Module, int]:
    swin = _models().swin_transformer
    options = {"block": swin.SwinTransformerBlockV2, "downsample_layer": swin.PatchMergingV2} if block == "v2" else {}
    return swin.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [7, 7], num_classes=10, **options), 64


def _vit() -> tuple[nn.Module, int]:
    return _models().VisionTransformer(32, 16, 2, 4, 64, 128, num_classes=10), 32


def _wide() -> tuple[nn.Module, int]:
    resnet = _models().resnet
    return resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], width_per_group=128, num_classes=10), 64


def _efficientnet_v2() -> tuple[nn.Module, int]:
    efficientnet = _models().efficientnet
    settings = [efficientnet.FusedMBConvConfig(4, 3, 2, 16, 24, 2), efficientnet.MBConvConfig(4, 3, 2, 24, 32, 2)]
    return efficientnet.EfficientNet(settings, 0.1, num_classes=10, last_channel=64), 64


NARROW: dict[str, Callable[[], tuple[nn.Module, int]]] = {
    "alexnet": _alexnet, "convnext": _convnext, "efficientnet_v2": _efficientnet_v2, "maxvit": _maxvit,
    "swin": lambda: _swin("v1"), "swin_v2": lambda: _swin("v2"), "vgg": _vgg, "vit": _vit, "wide": _wide,
}  # fmt: skip


def test_every_family_has_a_network_here() -> None:
    """All names of torchvision belong to a family that is tested below; a new family has to be added."""
    every = names()
    assert len(every) >= 80
    assert set(families(every)) == set(NARROW) | set(families(SMALL))
    assert set(SMALL) <= set(every)


@pytest.mark.parametrize("name", [*SMALL, *NARROW])
def test_symmetries_of_a_family(name: str) -> None:
    """At least one site, exact to 1e-9, the non-symmetry above 1e-3, the batch action in its bound, strict members."""
    network, size = NARROW[name]() if name in NARROW else build(name)
    found = examine_network(name, network.eval().requires_grad_(False), size)
    assert found.member == "ensemble"
    assert found.sites >= 1
    assert found.exact_error <= 1e-9
    assert found.planted_error > 1e-3
    assert found.batch_error <= 1.0
    assert found.strict
    assert (found.attention > 0) == (name == "vit")
