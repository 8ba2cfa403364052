"""Networks whose hidden units have riders: depthwise convolutions, gates, streams and attention."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def inverted_block(activation: nn.Module | None = None) -> nn.Module:
    """Return expand-BN-act-depthwise-BN-act-project-flatten on `[batch 1 8 8]`: 12 classes."""
    act = nn.ReLU() if activation is None else activation
    return nn.Sequential(
        nn.Conv2d(1, 6, 1, bias=False), nn.BatchNorm2d(6), act,
        nn.Conv2d(6, 6, 3, stride=2, groups=6, bias=False), nn.BatchNorm2d(6), act,
        nn.Conv2d(6, 12, 3), nn.Flatten(),
    )  # fmt: skip


class SqueezeExciteNet(nn.Module):
    """Expand, ReLU, a gate per channel from its mean, project, head."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.project = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3)
        self.squeeze, self.excite = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch 4]` of images `[batch 1 8 8]`."""
        h = F.relu(self.expand(x))
        gate = F.hardsigmoid(self.excite(F.leaky_relu(self.squeeze(F.adaptive_avg_pool2d(h, 1)))))
        return self.project(gate * h).mean([2, 3])


class LinearStream(nn.Module):
    """Inverted bottlenecks: a stream without activations, so any invertible matrix is exact on it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.expand = nn.ModuleList(nn.Conv2d(4, 6, 1) for _ in range(2))
        self.project = nn.ModuleList(nn.Sequential(nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4)) for _ in range(2))
        self.mixer = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch 3]` of images `[batch 1 8 8]`."""
        x = self.stem(x)
        x = x + self.mixer(x)
        for expand, project in zip(self.expand, self.project, strict=True):
            x = x + project(F.silu(expand(x)))
        return self.head(x.mean([2, 3]))


class GroupedNet(nn.Module):
    """A ResNeXt block behind a stem: grouped in the middle, residual, pooled head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.conv1, self.conv2, self.conv3 = (
            nn.Conv2d(4, 8, 1),
            nn.Conv2d(8, 8, 3, padding=1, groups=4),
            nn.Conv2d(8, 4, 1),
        )
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch 3]` of images `[batch 1 8 8]`."""
        x = F.relu(self.stem(x))
        x = F.relu(x + self.conv3(F.relu(self.conv2(F.relu(self.conv1(x))))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Sequences(nn.Module):
    """One-dimensional convolutions over time, a PReLU with a slope per channel, and a power."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.slopes = nn.Conv1d(1, 5, 3), nn.BatchNorm1d(5), nn.PReLU(5)
        self.b, self.c = nn.Conv1d(5, 6, 3, dilation=2), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch 4]` of images `[batch 1 8 8]`, read row after row."""
        x = self.slopes(self.norm(self.a(x.flatten(2))))
        return self.c(torch.square(self.b(x)).mean(2))


class Transformer(nn.Module):
    """Two pre-norm encoder layers on the rows of an image, with attention that has biases."""

    def __init__(self, *, batch_first: bool = True) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 12)
        self.norms = nn.ModuleList(nn.LayerNorm(12) for _ in range(2))
        self.attention = nn.ModuleList(nn.MultiheadAttention(12, 3, batch_first=batch_first) for _ in range(2))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 20), nn.GELU(), nn.Dropout(0.1), nn.Linear(20, 12))
            for _ in range(2)
        )
        self.head = nn.Linear(12, 5)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch 5]` of images `[batch 1 8 8]`."""
        x = self.embed(x.squeeze(1))
        x = x if self.batch_first else x.transpose(0, 1)
        for norm, attention, mlp in zip(self.norms, self.attention, self.mlps, strict=True):
            y = norm(x)
            x = x + attention(y, y, y, need_weights=False)[0]
            x = x + mlp(x)
        return self.head(x.mean(1 if self.batch_first else 0))
