"""Finding sites, and refusing what only looks like one.

Seen to fail: shortcut and upper output exchanged; a second reader of the activation ignored; calls not counted.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ensemble import find_sites
from ensemble.errors import InputError, NoSiteError, TraceError
from ensemble.graph import trace
from ensemble.sites import refused_sites
from tests.ensemble.cases import ResidualNet, images, mlp, plain_cnn, randomised


def test_plain_cnn() -> None:
    """Conv-BN-act-pool-Conv, Conv-act-pool-dropout-flatten-Linear and Linear-act-Linear are found in order."""
    sites = find_sites(plain_cnn().eval(), images(1))
    assert [(site.name, site.hidden, site.regressors, site.channel_axis) for site in sites] == [
        ("0 -> 4", 6, 54, 1),
        ("4 -> 9", 8, 32, 1),
        ("9 -> 11", 12, 12, -1),
    ]
    assert sites[0].lower.norm == "1"
    assert [site.activation.name for site in find_sites(mlp().eval(), torch.zeros(1, 6))] == ["relu", "leaky_relu"]


def test_residual_blocks_offer_their_hidden_channels_only() -> None:
    """The stream is never acted on, and the shortcut that joins the upper output is known."""
    network = ResidualNet().eval()
    sites = find_sites(network, images(1))
    assert [site.name for site in sites] == ["first.conv1 -> first.conv2", "second.conv1 -> second.conv2"]
    assert [(site.lower.norm, site.upper.norm) for site in sites] == [
        ("first.bn1", "first.bn2"),
        ("second.bn1", "second.bn2"),
    ]
    traced = trace(network, images(1))
    assert [str(traced.node(str(site.shortcut)).target) for site in sites] == ["first.project", "second.project"]


class _TwoReaders(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of two layers that read one activation."""
        h = F.relu(self.a(x))
        return self.b(h) + self.c(h)


class _Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of a network that calls one layer twice."""
        return self.b(F.relu(self.a(F.relu(self.a(x)))))


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of a network with tied weights."""
        return self.c(F.relu(self.b(F.relu(self.a(x)))))


class _Softmaxed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits behind a function that mixes hidden units."""
        return self.b(F.softmax(F.relu(self.a(x)), dim=1))


class _Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits after a branch on a tensor value."""
        if x.sum() > 0:
            return self.a(x)
        return self.a(-x)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (_TwoReaders(), "read by 2 places"),
        (_Shared(), "called 2 times"),
        (_Tied(), "shares a parameter"),
        (_Softmaxed(), "mixes or joins hidden units"),
        (nn.Sequential(weight_norm(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 3)), "parametrised"),
        (nn.Sequential(nn.Linear(4, 6), nn.Mish(), nn.Linear(6, 3)), "known activation"),
        (nn.Sequential(nn.Linear(4, 3)), "known activation"),
    ],
    ids=["two readers", "called twice", "tied", "softmax between", "weight norm", "unknown activation", "one layer"],
)
def test_what_is_no_site_is_refused_with_a_reason(network: nn.Module, reason: str) -> None:
    """A network whose only candidate must not be acted on raises, and the message says why."""
    with pytest.raises(NoSiteError, match=reason):
        find_sites(network.eval(), torch.zeros(1, 4))


def test_grouped_convolution_is_refused_but_the_rest_is_found() -> None:
    """A refused candidate does not hide the sound ones."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8),
        nn.ReLU(), nn.Linear(8, 3),
    ).eval()  # fmt: skip
    assert [site.name for site in find_sites(network, images(1))] == ["5 -> 7"]
    refused = refused_sites(trace(network, images(1)))
    assert {entry.layer for entry in refused} == {"2"}
    assert all("grouped" in entry.reason for entry in refused)


def test_untraceable_network_says_where_tracing_stopped() -> None:
    """A branch on a tensor value is named, with what to do."""
    with pytest.raises(TraceError, match=r"forward.*torch\.where"):
        find_sites(_Branching().eval(), torch.zeros(1, 4))


def test_bad_networks_and_inputs() -> None:
    """Training mode, NaN weights, other dtypes and wrong shapes each get their own message."""
    network = mlp()
    with pytest.raises(InputError, match=r"network\.eval\(\)"):
        find_sites(network.train(), torch.zeros(1, 6))
    with pytest.raises(InputError, match=r"torch\.float64"):
        find_sites(network.eval(), torch.zeros(1, 6, dtype=torch.float64))
    with pytest.raises(TraceError, match=r"shape \(1, 5\)"):
        find_sites(network, torch.zeros(1, 5))
    broken = randomised(mlp())
    with torch.no_grad():
        broken[0].weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"0\.weight.*NaN"):
        find_sites(broken, torch.zeros(1, 6))
