"""Transformed copies: each transform is what the paper says, and the mean gradient over copies is exact.

Seen to fail with: a padded image not zero outside; the offset of a crop without its sign; sizes that leave out the
largest; one draw for the whole batch; a kernel that does not sum to one; brightness measured from zero when the box
starts elsewhere; scales 1, 1/2, 1/3; an image mixed with itself; the perturbed batch mixed in; the sum over copies in
place of the mean; labels repeated point by point in place of copy by copy; a forward pass larger than allowed; a turn
of a changing surrogate for each pass; the best iterate by loss kept on a changing surrogate.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.gradient import (
    KEEP_SURROGATE_LOSS,
    Diversity,
    Goal,
    Mixing,
    Scales,
    Smoothing,
    admix,
    mi,
    mi_di,
    mi_di_ti_si,
    vmi,
)
from attacks.gradient.copies import Copies, Others
from attacks.gradient.descent import Attempt
from attacks.gradient.diversity import _resized
from attacks.gradient.keeping import served_margin
from attacks.surrogates.pools import MemberPerStep
from attacks.targets import NetworkModel
from tests.attacks.conftest import Points
from tests.attacks.gradient.linear import DUAL, linear, points
from tests.attacks.gradient.recording import BOX, Recorded

STEPS: dict[str, Any] = {"steps": 4, "rel_stepsize": 0.25}
NOBODY = Others(torch.zeros(0), torch.zeros(0, dtype=torch.int64))


@pytest.fixture(autouse=True)
def seeded() -> Any:
    """Each test draws the same numbers and leaves the generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _placed(images: Tensor, size: int, offset: int) -> Tensor:
    """Torch's own bilinear resize of square images, then padding or cropping."""
    length = images.shape[-1]
    resized = functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=False)
    frame = torch.zeros_like(images)
    for row in range(length):
        for column in range(length):
            if 0 <= row - offset < size and 0 <= column - offset < size:
                frame[..., row, column] = resized[..., row - offset, column - offset]
    return frame


@pytest.mark.parametrize(("size", "offset"), [(28, 0), (28, 4), (30, 1), (32, 0), (33, -1), (36, -4), (36, 0)])
def test_the_matrices_resize_as_torch_does(size: int, offset: int) -> None:
    """Two matrices of weights equal bilinear interpolation with zeros around, or with its overhang cut off."""
    images = torch.rand(2, 3, 32, 32)
    weights = _resized(32, torch.tensor([float(size)] * 2), torch.tensor([float(offset)] * 2))[:, None]
    torch.testing.assert_close(weights @ images @ weights.mT, _placed(images, size, offset), rtol=1e-4, atol=1e-5)


def test_every_size_and_place_occurs_equally_often() -> None:
    """Of 32 pixels, 28 to 36 with a ninth each; an image of ones shows where it was put; half stay as they are."""
    ones = torch.ones(18000, 1, 32, 1)
    shown = Diversity(probability=1.0)(ones.expand(-1, -1, -1, 32), NOBODY)[:, 0, :, 16]
    covered = (shown > 0.99).sum(1)
    shares = torch.bincount(covered, minlength=33)[28:] / len(ones)
    torch.testing.assert_close(shares, torch.tensor([1 / 9] * 4 + [5 / 9]), rtol=0, atol=0.01)
    top = shown[covered == 28].argmax(1)
    shares = torch.bincount(top, minlength=5) / len(top)
    torch.testing.assert_close(shares, torch.full((5,), 0.2), rtol=0, atol=0.04)
    images = torch.rand(4000, 1, 8, 8)
    same = (Diversity(probability=0.5)(images, NOBODY) == images).flatten(1).all(1).float().mean()
    # Of the half that is drawn, a third keeps its 8 pixels (7, 8 and 9 are as likely).
    assert same.item() == pytest.approx(0.5 + 0.5 / 3, abs=0.03)


def test_images_of_any_shape_are_resized() -> None:
    """Height and width follow the same draw, and every image keeps its frame."""
    shown = Diversity(probability=1.0)(torch.ones(50, 3, 16, 40), NOBODY)
    assert shown.shape == (50, 3, 16, 40)
    rows, columns = ((shown[:, 0] > 0.99).any(axis).sum(1) for axis in (2, 1))
    assert ((rows == 16) == (columns == 40)).all()
    assert rows.min() == 14


def test_smoothing_is_the_mean_over_shifts() -> None:
    """The convolution equals the weighted sum of shifted gradients away from the border; its weights sum to one."""
    gradient, smoothing = torch.randn(2, 3, 8, 8), Smoothing(size=3, sigma=0.8)
    kernel = smoothing.kernel()
    assert kernel.sum().item() == pytest.approx(1.0)
    assert (kernel[1, 1] / kernel[1, 0]).log().item() == pytest.approx(1 / (2 * 0.8**2))
    shifts = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    mean = sum(kernel[1 + r, 1 + c] * torch.roll(gradient, (r, c), (2, 3)) for r, c in shifts)
    torch.testing.assert_close(smoothing(gradient)[..., 1:-1, 1:-1], mean[..., 1:-1, 1:-1])
    torch.testing.assert_close(smoothing(torch.ones(1, 1, 8, 8))[0, 0, 0, 4], kernel[1:].sum())


def test_scales_are_powers_of_two() -> None:
    """Copy by copy: the whole batch, then half as bright."""
    images = torch.rand(3, 1, 4, 4)
    torch.testing.assert_close(Scales(3)(images, NOBODY), torch.cat([images, images / 2, images / 4]))


def test_mixing_takes_other_unperturbed_images() -> None:
    """What is added is a fifth of an image of the batch that is not the point's own; every other one occurs."""
    batch, rows = torch.eye(5)[:, None, None, :], torch.arange(5)
    images = torch.rand(5, 1, 1, 5)
    added = (Mixing(200, 0.2)(images, Others(batch, rows)) - images.repeat(200, 1, 1, 1)).reshape(200, 5, 5)
    torch.testing.assert_close(added.sum(2), torch.full((200, 5), 0.2))
    share = (added / 0.2).mean(0)
    torch.testing.assert_close(share.diagonal(), torch.zeros(5), rtol=0, atol=1e-6)
    assert (share + torch.eye(5) > 0.15).all()
    alone = Mixing(2, 0.2)(images[:1], Others(batch[:1], rows[:1]))
    assert alone.shape == (2, 1, 1, 5)


def _attempt(model: NetworkModel, x: Tensor, y: Tensor) -> Attempt:
    return Attempt(model, x, Goal(y), 0.1, KEEP_SURROGATE_LOSS)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0)])
def test_the_mean_gradient_over_scales_is_the_formula(bounds: tuple[float, float], network: nn.Module) -> None:
    """(1/m) sum_i of the gradient of J(low + (x - low)/2^i), taken copy by copy with autograd alone."""
    model = NetworkModel(network, bounds=bounds, classes=10)
    x, y, low = torch.rand(6, 1, 8, 8), torch.arange(6), bounds[0]
    expected = torch.zeros_like(x)
    for scale in range(4):
        leaf = x.clone().requires_grad_()
        functional.cross_entropy(network(low + (leaf - low) / 2**scale), y, reduction="sum").backward()
        assert leaf.grad is not None
        expected += leaf.grad / 4
    rows = torch.arange(6)
    found = Copies((Scales(4),)).mean_gradient(_loss, _attempt(model, x, y), x, rows)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_forward_passes_are_bounded_and_their_size_changes_nothing(network: nn.Module, held_out: Points) -> None:
    """Fifteen copies of ten points pass in parts of at most 32, with the gradient of one large pass."""
    x, y, rows = held_out.inputs[:10], held_out.labels[:10], torch.tensor([3, 1, 4, 9, 2, 6])
    found = []
    for largest in (32, 1000):
        model = Recorded(network)
        torch.manual_seed(1)
        copies = Copies((Mixing(3, 0.2), Scales(5)), largest=largest)
        found.append(copies.mean_gradient(_loss, _attempt(model, x, y), x[rows], rows))
        assert max(len(part) for part in model.seen) == min(largest, 90)
        assert model.passes.forwards == model.passes.backwards == 90
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def _loss(logits: Tensor, goal: Goal) -> Tensor:
    return goal.loss(logits)


PLAIN: dict[str, Callable[..., Any]] = {
    "DI that never resizes": lambda **p: mi_di("linf", probability=0.0, **p),
    "DI without spread": lambda **p: mi_di("linf", probability=1.0, spread=0.0, **p),
    "one scale": lambda **p: mi("linf", transforms=(Scales(1),), **p),
    "nothing mixed in": lambda **p: admix("linf", images=2, weight=0.0, scales=1, **p),
    "a kernel of one pixel": lambda **p: mi("linf", smoothing=Smoothing(1), **p),
    "all of these": lambda **p: mi_di_ti_si("linf", probability=0.0, size=1, scales=1, **p),
    "VMI without neighbourhood": lambda **p: vmi("linf", reach=0.0, neighbours=2, **p),
}


@pytest.mark.parametrize("name", PLAIN)
def test_without_its_effect_every_transform_is_plain_momentum(name: str, network: nn.Module, held_out: Points) -> None:
    """The identity transform gives the bytes of MI."""
    model = NetworkModel(network, bounds=BOX, classes=10)
    x, y = held_out.inputs[:16], held_out.labels[:16]
    plain = mi("linf", keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=0.1)
    found = PLAIN[name](keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=0.1)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-6)


EFFECTIVE: dict[str, Callable[..., Any]] = {
    "mi_di": mi_di,
    "mi_di_ti_si": mi_di_ti_si,
    "admix": admix,
    "vmi": vmi,
}


@pytest.mark.parametrize("name", EFFECTIVE)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_every_combination_attacks_in_every_norm(name: str, norm: str, network: nn.Module, held_out: Points) -> None:
    """The loss of most points rises, inside ball and box; a seed fixes every byte; the effect is not none."""
    model = NetworkModel(network, bounds=BOX, classes=10)
    x, y = held_out.inputs[:16], held_out.labels[:16]
    epsilon = {"linf": 0.15, "l2": 1.0, "l1": 6.0}[norm]
    attack = EFFECTIVE[name](norm, keep=KEEP_SURROGATE_LOSS, **STEPS)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(attack.run(model, x, y, epsilon=epsilon))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    plain = mi(norm, keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, x, y, epsilon=epsilon)
    assert not torch.allclose(found[0], plain)
    assert attack.distance(x, found[0]).max() <= epsilon + 1e-5
    assert found[0].min() >= 0
    assert found[0].max() <= 1
    losses = [functional.cross_entropy(model(points), y, reduction="none") for points in (x, found[0])]
    assert (losses[1] > losses[0] + 0.1).float().mean() > 0.8


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["si", "admix", "vmi"])
def test_on_a_linear_network_copies_do_not_change_the_optimum(name: str, norm: str) -> None:
    """Every copy has the same gradient up to its length, so the margin falls by epsilon times the dual norm."""
    attack = {
        "si": lambda: mi(norm, keep=KEEP_SURROGATE_LOSS, transforms=(Scales(5),), **STEPS),
        "admix": lambda: admix(norm, keep=KEEP_SURROGATE_LOSS, **STEPS),
        "vmi": lambda: vmi(norm, keep=KEEP_SURROGATE_LOSS, **STEPS),
    }[name]()
    model = linear(2)
    x, y = points(model)
    found = attack.run(model, x, y, epsilon=0.1)
    weight = model.network.weight[0] - model.network.weight[1]
    fallen = served_margin(model.logits(x), y) - served_margin(model.logits(found), y)
    torch.testing.assert_close(fallen, (0.1 * weight.norm(DUAL[norm])).expand(len(x)), rtol=1e-4, atol=1e-5)


def test_copies_are_counted(network: nn.Module, held_out: Points) -> None:
    """Ten points, four steps: 15 copies each way, one forward for the logits, and two for first and last iterate."""
    model = NetworkModel(network, bounds=BOX, classes=10)
    admix("linf", keep=KEEP_SURROGATE_LOSS, **STEPS).run(model, held_out.inputs[:10], held_out.labels[:10], epsilon=0.1)
    assert model.passes.backwards == 10 * 4 * 15
    assert model.passes.forwards == 10 * (4 * 16 + 2)


class Pool(nn.Module):
    """Five linear networks that answer one by one, and remember which ones were asked with a gradient."""

    size, num_classes = 5, 3

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.randn(5, 3, 16)
        self.asked: list[int] = []
        self.eval()

    def member_logits(self, x: Tensor, *, members: slice | None = None) -> Tensor:
        """Return `[member batch classes]`."""
        assert members is not None
        if x.requires_grad:
            self.asked.append(members.start)
        return torch.einsum("bf,mcf->mbc", x.flatten(1), self.weights[members])


@pytest.mark.parametrize("name", [*EFFECTIVE, "mi"])
def test_a_step_is_one_turn_of_a_surrogate_that_changes(name: str) -> None:
    """However many passes a step takes, all go to one network, and the next step to the next network."""
    pool = Pool()
    model = MemberPerStep(pool, bounds=BOX, classes=3, seed=0)
    attack = (EFFECTIVE | {"mi": mi})[name]("linf", keep=KEEP_SURROGATE_LOSS, steps=5, rel_stepsize=0.2)
    attack.copies = dataclasses.replace(attack.copies, largest=8)
    attack.run(model, torch.rand(6, 1, 4, 4), torch.zeros(6, dtype=torch.int64), epsilon=0.1)
    turns = [turn for turn, _ in itertools.groupby(pool.asked)]
    assert sorted(turns) == [0, 1, 2, 3, 4]


def test_of_a_surrogate_that_changes_the_last_iterate_is_returned(network: nn.Module, held_out: Points) -> None:
    """Losses on two networks do not compare: a weak network early on must not decide which iterate is kept."""
    pool = Pool()
    pool.weights[0] *= 100  # its large losses would always win
    model = MemberPerStep(pool, bounds=BOX, classes=3, seed=0)
    shown: list[Tensor] = []
    forward = pool.member_logits
    pool.member_logits = lambda x, **keywords: (shown.append(x.detach()), forward(x, **keywords))[1]  # type: ignore[method-assign]
    found = mi("linf", keep=KEEP_SURROGATE_LOSS, steps=5, rel_stepsize=0.5).run(
        model, torch.rand(30, 1, 4, 4), torch.zeros(30, dtype=torch.int64), epsilon=0.1
    )
    assert torch.equal(found, shown[-1])


def test_transforms_are_given_the_whole_unperturbed_batch(network: nn.Module) -> None:
    """Whatever the iterates are, and whichever points are left: other images are clean, rows name each copy's own."""
    given: list[Others] = []

    def spy(images: Tensor, others: Others) -> Tensor:
        given.append(others)
        return images

    model = NetworkModel(network, bounds=(-1.0, 1.0), classes=10)
    origin, rows = torch.rand(6, 1, 8, 8), torch.tensor([4, 1])
    iterates = origin[rows] + 0.1
    Copies((Scales(3), spy)).mean_gradient(_loss, _attempt(model, origin, torch.arange(6)), iterates, rows)
    assert torch.equal(given[0].images, origin + 1)
    assert given[0].rows.tolist() == [4, 1, 4, 1, 4, 1]
