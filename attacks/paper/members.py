"""Members of figures 10 and 11: group elements on the last hidden layer and the least-squares action on its output.

A member replaces U sigma(z) by U pi sigma(g z). As published, g = exp(scale T) with T_ij ~ N(0, 1/h) and pi = S A⁺ on a
batch of k = h pre-activations of its own, with 1e-4 Gaussian noise; the corrected track takes k = 64 h.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.paper.networks import Networks

JITTER = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Actions on the last hidden layer of several networks.

    Attributes:
        g: group elements `[net member hidden hidden]`.
        pi: output actions `[net member hidden hidden]`.
        shift: added to g z, `[net member hidden]`; zero for everything but a control.
    """

    g: Tensor
    pi: Tensor
    shift: Tensor

    def first(self, count: int) -> "Members":
        """Return the first members of every network."""
        return Members(self.g[:, :count], self.pi[:, :count], self.shift[:, :count])


def draw(networks: Networks, z: Tensor, *, scale: float, count: int, batch: int, seed: int) -> Members:
    """Return members calibrated on batches of pre-activations, each member on its own.

    Args:
        networks: whose last hidden layer is acted on.
        z: calibration pre-activations `[net input hidden]`.
        scale: multiplier of the algebra element.
        count: members per network.
        batch: k, calibration inputs per member.
        seed: of elements, batches and noise.
    """
    h = z.shape[2]
    rng = torch.Generator().manual_seed(seed)
    T = torch.randn(len(networks), count, h, h, generator=rng, dtype=torch.float64) / h**0.5
    g = torch.matrix_exp(scale * T)
    rows = torch.randint(z.shape[1], (len(networks), count, batch), generator=rng)
    noise = JITTER * torch.randn(len(networks), count, batch, h, generator=rng, dtype=torch.float64)
    Z = torch.stack([z[i].double()[rows[i]] for i in range(len(networks))]) + noise
    S, A = networks.sigma(Z), networks.sigma(Z @ g.transpose(-1, -2))
    # pi A = S for columns; rows here, so A piᵀ = S.
    pi = (torch.linalg.pinv(A) @ S).transpose(-1, -2)
    return Members(g, pi, torch.zeros(len(networks), count, h, dtype=torch.float64))


def member_logits(networks: Networks, members: Members, z: Tensor) -> Tensor:
    """Return logits `[net member batch class]` of pre-activations `[net batch hidden]`, in float64."""
    moved = z.double()[:, None] @ members.g.transpose(-1, -2) + members.shift[:, :, None]
    upper = networks.U.double()[:, None] @ members.pi
    return networks.sigma(moved) @ upper.transpose(-1, -2) + networks.c.double()[:, None, None]


def mean_softmax(logits: Tensor) -> Tensor:
    """Return the mean probability over members `[net batch class]` of logits `[net member batch class]`."""
    return logits.softmax(dim=-1).mean(dim=1)


def majority(logits: Tensor) -> Tensor:
    """Return the label most members answer `[net batch]`, ties to the smallest."""
    votes = torch.nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).sum(dim=1)
    return votes.argmax(dim=-1)


def answers(networks: Networks, members: Members, z: Tensor) -> Tensor:
    """Return the label of the mean softmax `[net batch]`, network by network to bound the memory."""
    labels = []
    for i in range(len(networks)):
        rows = slice(i, i + 1)
        own = Members(members.g[rows], members.pi[rows], members.shift[rows])
        labels.append(mean_softmax(member_logits(networks.part(rows), own, z[rows])).argmax(dim=-1))
    return torch.cat(labels)


def _identity(members: Members) -> Tensor:
    return torch.eye(members.g.shape[-1], dtype=torch.float64).expand_as(members.g)


def random_shift(members: Members, *, scale: float, seed: int) -> Members:
    """Return the control 'random': scale times U[0, 1] added to z, nothing compensated (our reading)."""
    rng = torch.Generator().manual_seed(seed)
    shift = scale * torch.rand(members.shift.shape, generator=rng, dtype=torch.float64)
    return Members(_identity(members), _identity(members), shift)


def shuffle(members: Members, *, scale: float, seed: int) -> Members:
    """Return the control 'shuffle': hidden units permuted, nothing compensated."""
    return Members(_permutations(members, seed), _identity(members), members.shift)


def inverse(members: Members, *, scale: float, seed: int) -> Members:
    """Return the control 'g⁻¹': the same elements, compensated by g⁻¹ in place of the fit (our reading)."""
    return Members(members.g, torch.linalg.inv(members.g), members.shift)


def interpolation(members: Members, *, scale: float, seed: int) -> Members:
    """Return the control 'perm-interp': (1 − t) 1 + t P, t < 5/11 so that the condition is at most 11 (our reading)."""
    rng = torch.Generator().manual_seed(seed)
    t = 5 / 11 * torch.rand(*members.g.shape[:2], 1, 1, generator=rng, dtype=torch.float64)
    g = (1 - t) * _identity(members) + t * _permutations(members, seed + 1)
    return Members(g, torch.linalg.inv(g), members.shift)


def scrambled(members: Members, *, scale: float, seed: int) -> Members:
    """Return the members with the columns of pi permuted: as far from the base, without the fit."""
    return Members(members.g, members.pi @ _permutations(members, seed), members.shift)


Control = Callable[..., Members]
#: The controls of the official notebook.
CONTROLS: tuple[tuple[str, Control], ...] = (
    ("random", random_shift),
    ("shuffle", shuffle),
    ("g⁻¹", inverse),
    ("perm-interp", interpolation),
)


def _permutations(members: Members, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    nets, count, h = members.shift.shape
    orders = torch.rand(nets, count, h, generator=rng).argsort(dim=-1)
    return torch.eye(h, dtype=torch.float64)[orders]
