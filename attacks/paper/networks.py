"""The small network of figures 10 and 11, several at once, and how they are trained.

conv to 32 channels (3x3, same) - LeakyReLU - max pool 2 - Linear to 16 - sigma - Linear to the classes. The last hidden
layer, of width 16, is where group elements act. Weights of several networks are stacked along the first axis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from attacks.paper.data import Images

FILTERS = 32
HIDDEN = 16
CLASSES = 10
BATCH = 32
Sigma = Callable[[Tensor], Tensor]
#: Loss per network `[net]` of logits `[net batch classes]` and labels `[batch]`.
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """Stacked weights.

    Attributes:
        sigma: activation of the last hidden layer.
        kernel: `[net filter channel 3 3]`.
        kernel_bias: `[net filter]`.
        V: lower weights of the last hidden layer `[net hidden feature]`.
        b: its biases `[net hidden]`.
        U: upper weights `[net class hidden]`.
        c: biases `[net class]`.
    """

    sigma: Sigma
    kernel: Tensor
    kernel_bias: Tensor
    V: Tensor
    b: Tensor
    U: Tensor
    c: Tensor

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """Return all tensors in order."""
        return self.kernel, self.kernel_bias, self.V, self.b, self.U, self.c

    def __len__(self) -> int:
        """Return how many networks there are."""
        return len(self.U)

    def part(self, rows: slice) -> "Networks":
        """Return some of the networks."""
        return Networks(self.sigma, *(weight[rows] for weight in self.weights))

    def pre_activations(self, pixels: Tensor) -> Tensor:
        """Return z `[net batch hidden]` of shared images `[batch channel height width]`, or own `[net batch ...]`."""
        if pixels.ndim == 5:
            parts = [self.part(slice(i, i + 1)).pre_activations(pixels[i]) for i in range(len(self))]
            return torch.cat(parts)
        nets = len(self)
        maps = F.conv2d(
            pixels.contiguous(memory_format=torch.channels_last),
            self.kernel.flatten(0, 1),
            self.kernel_bias.flatten(),
            padding=1,
        )
        # LeakyReLU is monotone: pooling first gives the same values on a quarter of the entries.
        pooled = F.leaky_relu(F.max_pool2d(maps, 2))
        features = pooled.reshape(len(pixels), nets, -1).transpose(0, 1)
        return torch.baddbmm(self.b[:, None], features, self.V.transpose(1, 2))

    def read_out(self, z: Tensor) -> Tensor:
        """Return logits `[net batch class]` of pre-activations `[net batch hidden]`."""
        return torch.baddbmm(self.c[:, None], self.sigma(z), self.U.transpose(1, 2))

    def logits(self, pixels: Tensor) -> Tensor:
        """Return logits `[net batch class]`."""
        return self.read_out(self.pre_activations(pixels))


def square_like(x: Tensor) -> Tensor:
    """Return m(x)² + .01 x with m = LeakyReLU(.1): the activation of figure 10, not monotone below 0."""
    return F.leaky_relu(x, 0.1).square() + 0.01 * x


def leaky(x: Tensor) -> Tensor:
    """Return LeakyReLU(.1): the activation of figure 11."""
    return F.leaky_relu(x, 0.1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of each network, `[net]`."""
    nets, batch, _ = logits.shape
    losses = F.cross_entropy(logits.flatten(0, 1), labels.repeat(nets), reduction="none")
    return losses.view(nets, batch).mean(dim=1)


def softmax_twice(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of probabilities taken for logits, `[net]`, as the official notebooks have it."""
    return cross_entropy(logits.softmax(dim=2), labels)


def fresh(seeds: Sequence[int], shape: tuple[int, int, int], sigma: Sigma) -> Networks:
    """Return networks with PyTorch's default starting weights, one per seed.

    Args:
        seeds: one per network.
        shape: of an image, (channel, height, width).
        sigma: activation of the last hidden layer.
    """
    channels, height, width = shape
    features = FILTERS * (height // 2) * (width // 2)
    sizes = [
        ((FILTERS, channels, 3, 3), channels * 9),
        ((FILTERS,), channels * 9),
        ((HIDDEN, features), features),
        ((HIDDEN,), features),
        ((CLASSES, HIDDEN), HIDDEN),
        ((CLASSES,), HIDDEN),
    ]
    drawn = []
    for seed in seeds:
        rng = torch.Generator().manual_seed(seed)
        drawn.append([(2 * torch.rand(size, generator=rng) - 1) / fan**0.5 for size, fan in sizes])
    return Networks(sigma, *(torch.stack(parts) for parts in zip(*drawn, strict=True)))


def train(start: Networks, images: Images, losses: Sequence[tuple[slice, Loss]], *, epochs: int, seed: int) -> Networks:
    """Return the networks trained with Adam at its defaults, batches of 32, all in one program.

    Every network sees the same batches in the same order; they differ by their starting weights and losses. Adam acts
    entry by entry, so that each network is trained as it would be alone.

    Args:
        start: starting weights; left as they are.
        images: what to train on.
        losses: which networks minimise which loss.
        epochs: passes over the images.
        seed: of the order of the images.
    """
    weights = [weight.clone().requires_grad_() for weight in start.weights]
    networks = Networks(start.sigma, *weights)
    optimiser = torch.optim.Adam(weights, fused=weights[0].device.type == "cpu")
    rng = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(images.labels), generator=rng).split(BATCH):
            logits, labels = networks.logits(images.pixels[rows]), images.labels[rows]
            loss = torch.cat([one(logits[part], labels) for part, one in losses]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return Networks(start.sigma, *(weight.detach() for weight in weights))
