"""Small networks with every kind of site, weights drawn at random and BatchNorm statistics away from the identity."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualNet(nn.Module):
    """Stem, two residual blocks (one with a projection), in-place functional activations, global pooling, head."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.4).reshape(1, 1, 1, 1), persistent=False)
        self.stem = nn.Conv2d(1, 6, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(6)
        self.first = Block(6, 6, stride=1)
        self.second = Block(6, 8, stride=2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch 5]` of images `[batch 1 height width]`."""
        x = F.relu(self.stem_norm(self.stem(x - self.mean)), inplace=True)
        x = self.second(self.first(x))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Block(nn.Module):
    """A basic residual block."""

    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inp, out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.project = nn.Conv2d(inp, out, 1, stride=stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.project(x)
        return self.relu(y)


def plain_cnn(activation: nn.Module | None = None) -> nn.Module:
    """Return conv-BN-act-pool-conv-act-flatten-linear-act-linear on `[batch 1 8 8]`."""
    act = nn.ReLU(inplace=True) if activation is None else activation
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), act, nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), type(act)(), nn.AvgPool2d(2), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(32, 12), type(act)(), nn.Linear(12, 5),
    )  # fmt: skip


def mlp() -> nn.Module:
    """Return a two-hidden-layer perceptron on `[batch 6]`."""
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 9), nn.LeakyReLU(0.1), nn.Linear(9, 4))


def randomised(network: nn.Module, seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return `network` in evaluation mode with random weights and BatchNorm statistics."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if not tensor.is_floating_point() or (name.endswith("mean") and tensor.ndim == 4):
                continue
            draw = torch.randn(tensor.shape, generator=rng)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + draw.abs())
            elif tensor.ndim > 1:
                tensor.copy_(draw * (2 / tensor[0].numel()) ** 0.5)
            else:
                tensor.copy_(0.3 * draw + (1.0 if "weight" in name else 0.0))
    return network.to(dtype).eval()


def images(count: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return random images `[count 1 8 8]` in [0, 1]."""
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def generator(seed: int = 0) -> torch.Generator:
    """Return a seeded CPU generator."""
    return torch.Generator().manual_seed(seed)
