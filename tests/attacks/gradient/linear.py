"""Linear networks, whose weakest perturbation is known in closed form."""

import torch
from torch import Tensor, nn

from attacks.targets import NetworkModel

BOX = (0.0, 1.0)
#: The exponent of the dual norm: a linear score moves by at most epsilon times this norm of its weights.
DUAL = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}


class Linear(nn.Module):
    """Logits W (x - 1/2), `[batch classes]`."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.eval()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch classes]`."""
        return (inputs.flatten(1) - 0.5) @ self.weight.T


def linear(classes: int, features: int = 16, seed: int = 0) -> NetworkModel:
    """Return a random linear classifier of `[batch 1 1 features]` inputs as foolbox sees it."""
    weight = torch.randn(classes, features, generator=torch.Generator().manual_seed(seed))
    return NetworkModel(Linear(weight), bounds=BOX, classes=classes)


def points(model: NetworkModel, n: int = 64, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return inputs near the middle of the box, which small radii cannot reach, and the classes they get."""
    features = model.network.weight.shape[1]
    x = 0.5 + 0.2 * (torch.rand(n, 1, 1, features, generator=torch.Generator().manual_seed(seed)) - 0.5)
    return x, model.answers(x)


def least_radius(model: NetworkModel, x: Tensor, labels: Tensor, norm: str) -> Tensor:
    """Return the exact distance of each point to another class, `[batch]`, where the box is out of reach."""
    return class_radii(model, x, labels, norm).amin(dim=1)


def class_radii(model: NetworkModel, x: Tensor, labels: Tensor, norm: str) -> Tensor:
    """Return each point's exact distance to the hyperplane of each class, `[batch classes]`; infinity for its own."""
    weight, logits = model.network.weight, model.logits(x)
    margin = logits.gather(1, labels[:, None]) - logits
    slope = (weight[labels][:, None] - weight[None]).norm(DUAL[norm], dim=2)
    return (margin / slope).scatter(1, labels[:, None], torch.inf)
