"""Finding sites, and refusing what only looks like one.

Seen to fail: shortcut and upper output exchanged; a second reader of the activation ignored; calls not counted; a
gate's writer of degree 1; units followed through a reshape by their number alone; pooling over the hidden axis; ties
looked for in used layers only; a depthwise layer that lets mixtures pass; sums on the units not counted.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao.nn.qat import Linear as QuantisedLinear
from torch.ao.quantization import get_default_qat_qconfig
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm

from ensemble import find_sites
from ensemble.errors import InputError, NoSiteError, TraceError
from ensemble.graph import trace
from ensemble.groups import (
    DirectSum,
    GeneralLinear,
    Group,
    NonzeroScaling,
    Permutation,
    PositiveScaling,
    Product,
    SignedPermutation,
)
from ensemble.sites import Role, survey
from tests.ensemble.cases import ResidualNet, images, mlp, plain_cnn, randomised
from tests.ensemble.networks import GroupedNet, SqueezeExciteNet, inverted_block

MONOMIAL = Product(Permutation(), PositiveScaling())


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


def test_a_grouped_convolution_is_a_lower_layer_block_by_block_and_no_upper_layer() -> None:
    """Its own units mix within their group only; as upper layer it is refused, and only an exact action remains."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(96, 8),
        nn.ReLU(), nn.Linear(8, 3),
    ).eval()  # fmt: skip
    found = survey(trace(network, images(1)))
    assert [(site.name, site.blocks, site.group.name) for site in found.sites] == [
        ("2 -> 5", 2, "2 blocks of general linear"),
        ("5 -> 7", 1, "general linear"),
    ]
    assert found.sites[0].exact_group == DirectSum(MONOMIAL, 2)
    assert {entry.layer: "grouped" in entry.reason for entry in found.refused} == {"0": True, "7": False}
    assert [(site.name, site.exact_group.name) for site in found.coupled] == [
        ("0 (+0) -> 2 (+0)", "2 blocks of permutation x positive scaling")
    ]


@pytest.mark.parametrize(
    ("activation", "group"), [(nn.ReLU(), MONOMIAL), (nn.ReLU6(), Permutation()), (nn.Tanh(), SignedPermutation())]
)
def test_a_depthwise_convolution_rides_along(activation: nn.Module, group: Group) -> None:
    """Expand, depthwise with its norm, project is one site; what is exact is what every activation in it admits."""
    (site,) = find_sites(inverted_block(activation).eval(), images(1))
    assert site.name == "0 -> 6"
    assert [(str(part.ref), part.ref.norm, part.role) for part in site.riders] == [("3", "4", Role.RIDER)]
    assert site.exact_group == group


def test_a_gate_on_the_units_rides_along() -> None:
    """Squeeze-excite is a site of its own, and is carried along by the units that it multiplies."""
    network = SqueezeExciteNet().eval()
    sites = find_sites(network, images(1))
    assert [site.name for site in sites] == ["expand -> project", "squeeze -> excite"]
    assert {(str(part.ref), part.role, part.degree) for part in sites[0].riders} == {
        ("squeeze", Role.READER, 1.0),
        ("excite", Role.WRITER, 0.0),
    }
    assert sites[0].exact_group == MONOMIAL  # the gate is relabelled, never scaled


def test_the_stream_of_a_residual_network_is_coupled() -> None:
    """Stem, blocks and head write and read one set of channels; an element acts on all of them, BatchNorm folded."""
    found = survey(trace(ResidualNet().eval(), images(1)))
    first, second = found.coupled
    assert {(str(part.ref), part.role) for part in first.parts} == {
        ("stem", Role.WRITER),
        ("first.conv2", Role.WRITER),
        ("first.conv1", Role.READER),
        ("second.conv1", Role.READER),
        ("second.project", Role.READER),
    }
    assert {str(part.ref) for part in second.parts} == {"second.conv2", "second.project", "head"}
    assert first.exact_group == second.exact_group == MONOMIAL
    assert "stream" in first.reason or "read by" in first.reason


def test_a_stream_with_one_reader_behind_its_blocks_is_no_site() -> None:
    """Stem, one residual block and head look like a lower and an upper layer, but the block writes the stream, too."""
    found = survey(trace(GroupedNet().eval(), images(1)))
    assert [site.name for site in found.sites] == ["conv2 -> conv3"]
    assert "residual stream" in next(entry.reason for entry in found.refused if entry.layer == "stem")


def test_a_depthwise_convolution_between_linear_layers_keeps_channels_apart() -> None:
    """Without any activation scalings of either sign pass a depthwise convolution, mixtures do not."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    )
    (site,) = survey(trace(network.eval(), images(1))).coupled
    assert site.exact_group == Product(Permutation(), NonzeroScaling())


def test_linear_layers_with_nothing_between_admit_every_invertible_matrix() -> None:
    """Two affine maps in a row are no site for a refit, but the whole general linear group is exact between them."""
    found = survey(trace(nn.Sequential(nn.Conv2d(1, 4, 3), nn.AvgPool2d(2), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Flatten(),
                                       nn.Linear(18, 3)).eval(), images(1)))  # fmt: skip
    assert [site.name for site in found.sites] == ["2 -> 5"]
    assert [site.exact_group for site in found.coupled] == [GeneralLinear()]


class _Pooled(nn.Module):
    def __init__(self, pool: Callable[[Tensor], Tensor], lower: nn.Module, upper: nn.Module) -> None:
        super().__init__()
        self.lower, self.pool, self.upper = lower, pool, upper

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of a head that pools in its own way."""
        return self.upper(self.pool(F.relu(self.lower(x))))


@pytest.mark.parametrize(
    ("pool", "group"),
    [
        (lambda x: x.mean([2, 3]), MONOMIAL),
        (lambda x: torch.mean(x, dim=(-2, -1)), MONOMIAL),
        (lambda x: x.mean((2, 3), keepdim=True).flatten(1), MONOMIAL),
        (lambda x: x.amax(dim=(2, 3)), MONOMIAL),
        (lambda x: F.avg_pool2d(x, 6).view(x.size(0), -1), MONOMIAL),
        (lambda x: F.adaptive_max_pool2d(x, 1).reshape(x.shape[0], 4), MONOMIAL),
        (lambda x: F.hardtanh(x).mean([2, 3]), None),
        (lambda x: x.mean([1, 2])[:, :4], None),
        (lambda x: x.permute(0, 2, 3, 1).mean([1, 2]), MONOMIAL),
        (lambda x: x.transpose(1, 3).flatten(1)[:, :4], None),
        (lambda x: (x * 0.5).mean([2, 3]), MONOMIAL),
        (lambda x: x[:, :, ::2, 1:].mean([2, 3]), MONOMIAL),
        (lambda x: x[..., 0].mean(2), None),
        (lambda x: x[:, :, 0, 0], MONOMIAL),
        (lambda x: x[:, [1, 0, 2, 3], 0, 0], None),
        (lambda x: (x + 0.5).mean([2, 3]), Permutation()),
        (lambda x: (x * x.sigmoid()).mean([2, 3]), Permutation()),
    ],
)
def test_ways_to_pool_before_the_head(pool: Callable[[Tensor], Tensor], group: Group | None) -> None:
    """Every way that keeps channels apart is followed, with the group that survives it; the others are refused."""
    network = _Pooled(pool, nn.Conv2d(1, 4, 3), nn.Linear(4, 3)).eval()
    found = survey(trace(network, images(1)))
    assert [site.exact_group for site in found.sites] == ([] if group is None else [group])
    assert len(found.refused) == (2 if group is None else 1)


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: x.flatten(1),
        lambda x: x.reshape(x.size(0), -1),
        lambda x: x.reshape(x.size(0), 6, 2).mean(2),
        lambda x: F.avg_pool1d(x, 3, 1, 1).mean(1),
        lambda x: F.max_pool2d(x, 3, 1, 1).mean(1),
    ],
)
def test_tokens_are_not_mistaken_for_channels(pool: Callable[[Tensor], Tensor]) -> None:
    """Behind a Linear layer units lie on the last axis: flattening tokens into them is refused, not misread."""
    network = nn.Sequential(nn.Flatten(2), _Pooled(pool, nn.Linear(64, 6), nn.LazyLinear(3))).eval()
    x = torch.cat([images(1), images(1, seed=3)], dim=1)
    network(x)
    found = survey(trace(network, x))
    assert found.sites == ()
    assert "mixes or joins" in found.refused[0].reason


class _ReadElsewhere(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of a network that also uses a layer's weight by itself."""
        return self.b(F.relu(self.a(x))) + F.linear(x, self.a.weight)[:, :3]


class _OwnForward(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        """Return something else than a Linear layer."""
        return super().forward(x).abs()


_OwnForward.__module__ = "torch.nn.own"  # torch.fx looks inside a module unless it is torch's


class _UnusedTie(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.spare = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(4, 4)
        self.spare.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return logits; the tied layer is not called, but its entry of a state dictionary is loaded."""
        return self.b(F.relu(self.a(x)))


def _memory_tie() -> nn.Module:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    network[2].weight.data = network[0].weight.data
    return network


def _pruned() -> nn.Module:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    prune.l1_unstructured(network[0], "weight", amount=0.5)
    return network


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (_ReadElsewhere(), "read outside the layer"),
        (nn.Sequential(_OwnForward(4, 6), nn.ReLU(), nn.Linear(6, 3)), "_OwnForward with a forward of its own"),
        (_UnusedTie(), "shares a parameter"),
        (_memory_tie(), "shares a parameter"),
        (_pruned(), "forward hooks"),
        (nn.Sequential(QuantisedLinear(4, 6, qconfig=get_default_qat_qconfig()), nn.ReLU(), nn.Linear(6, 3)),
         "quantised Linear"),
        (nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3)), "LayerNorm"),
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 3)), "BatchNorm1d"),
        (nn.Sequential(nn.Linear(4, 1), nn.ReLU(), nn.Linear(1, 3)), "single output unit"),
    ],
    ids=["read elsewhere", "own forward", "unused tie", "tied memory", "pruned", "quantised", "LayerNorm",
         "lone BatchNorm", "one unit"],
)  # fmt: skip
def test_changing_a_layer_that_is_more_than_its_weights_is_refused(network: nn.Module, reason: str) -> None:
    """Shared, hooked, quantised or overridden layers are never silently replaced."""
    with pytest.raises(NoSiteError, match=reason):
        find_sites(network.eval(), torch.zeros(1, 4))


def test_dropout_between_block_and_addition_does_not_hide_the_shortcut() -> None:
    """The residual feedback reads through what is the identity in evaluation mode."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            """Return logits of one residual MLP block."""
            return self.c(x + nn.functional.dropout(self.b(F.gelu(self.a(x))), 0.1, training=False))

    (site,) = find_sites(Block().eval(), torch.zeros(1, 4))
    assert (site.name, site.addition, site.shortcut) == ("a -> b", "add", "x")


def test_untraceable_network_says_where_tracing_stopped() -> None:
    """A branch on a tensor value is named, with what to do."""
    with pytest.raises(TraceError, match=r"forward.*torch\.where"):
        find_sites(_Branching().eval(), torch.zeros(1, 4))


def test_a_failing_forward_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong shape is one error, without a traceback beside it."""
    with pytest.raises(TraceError, match=r"shape \(1, 5\)"):
        find_sites(mlp().eval(), torch.zeros(1, 5))
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_bad_networks_and_inputs() -> None:
    """Training mode, NaN weights, other dtypes and wrong shapes each get their own message."""
    network = mlp()
    with pytest.raises(InputError, match=r"network\.eval\(\)"):
        find_sites(network.train(), torch.zeros(1, 6))
    with pytest.raises(InputError, match=r"torch\.float64"):
        find_sites(network.eval(), torch.zeros(1, 6, dtype=torch.float64))
    with pytest.raises(TraceError, match=r"shape \(1, 5\)"):
        find_sites(network, torch.zeros(1, 5))
    mixed = mlp().eval()
    mixed[2].double()
    with pytest.raises(InputError, match=r"one dtype, got \['torch.float32', 'torch.float64'\]"):
        find_sites(mixed, torch.zeros(1, 6))
    scattered = mlp().eval()
    scattered[2].to("meta")
    with pytest.raises(InputError, match=r"one device, got \['cpu', 'meta'\]"):
        find_sites(scattered, torch.zeros(1, 6))
    broken = randomised(mlp())
    with torch.no_grad():
        broken[0].weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"0\.weight.*NaN"):
        find_sites(broken, torch.zeros(1, 6))
