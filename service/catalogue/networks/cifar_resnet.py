"""Residual networks for 32x32 colour images: ResNet-20, 32, 44 and 56.

Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition" (2016), section 4.2, with shortcuts of
option A: where a stage halves the image, the shortcut takes every second pixel and pads the channels with zeros, and
has no parameters. Layer names follow the widely used checkpoints (`conv1`, `bn1`, `layer1.0.conv1` ... `linear`).

Differs: the ImageNet mean and standard deviation are subtracted inside the network, so inputs are plain pixels in
[0, 1]. They are buffers that no checkpoint stores, so the keys of a state dictionary equal the published ones.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """Subtract a mean and divide by a standard deviation per channel; constants that no checkpoint stores."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return `(images - mean) / std`, shape `[batch channel height width]`."""
        return (images - self.mean) / self.std


class Shortcut(nn.Module):
    """Option A: keep every second pixel and surround the channels with zeros; no parameters.

    Args:
        extra_channels: channels to add, half in front and half behind.
    """

    def __init__(self, extra_channels: int) -> None:
        super().__init__()
        self.front = extra_channels // 2
        self.behind = extra_channels - self.front

    def forward(self, images: Tensor) -> Tensor:
        """Return `[batch channel + extra height / 2 width / 2]`."""
        return functional.pad(images[:, :, ::2, ::2], (0, 0, 0, 0, self.front, self.behind))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        same = stride == 1 and channels_in == channels
        self.shortcut: nn.Module = nn.Identity() if same else Shortcut(channels - channels_in)

    def forward(self, images: Tensor) -> Tensor:
        """Return `relu(residual + shortcut)`, `[batch channels height / stride width / stride]`."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(images)))))
        result: Tensor = self.relu2(residual + self.shortcut(images))
        return result


class CifarResNet(nn.Module):
    """A residual network of `6 * blocks + 2` layers for 32x32 colour images; forward returns logits.

    Args:
        blocks: residual blocks in each of the three stages (16, 32 and 64 channels).
        num_classes: number of logits.
    """

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `[batch classes]` of images `[batch 3 32 32]` in [0, 1]."""
        hidden = self.relu(self.bn1(self.conv1(self.normalise(images))))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        logits: Tensor = self.linear(self.flatten(self.pool(hidden)))
        return logits


def _stage(channels_in: int, channels: int, blocks: int, *, stride: int) -> nn.Sequential:
    """Return a stage of `blocks` blocks whose first one changes the size."""
    first = BasicBlock(channels_in, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


def resnet20(num_classes: int = 10) -> nn.Module:
    """Return an untrained ResNet-20 (0.27 million parameters), inputs `[batch 3 32 32]` in [0, 1]."""
    return CifarResNet(3, num_classes)


def resnet32(num_classes: int = 10) -> nn.Module:
    """Return an untrained ResNet-32 (0.46 million parameters), inputs `[batch 3 32 32]` in [0, 1]."""
    return CifarResNet(5, num_classes)


def resnet44(num_classes: int = 10) -> nn.Module:
    """Return an untrained ResNet-44 (0.66 million parameters), inputs `[batch 3 32 32]` in [0, 1]."""
    return CifarResNet(7, num_classes)


def resnet56(num_classes: int = 10) -> nn.Module:
    """Return an untrained ResNet-56 (0.85 million parameters), inputs `[batch 3 32 32]` in [0, 1]."""
    return CifarResNet(9, num_classes)
