"""Members and controls of figures 10 and 11: the least-squares action, and what each control leaves undone.

Seen to fail when: pi is not transposed; g acts from the wrong side; the scale is left out of the exponential; the vote
breaks ties to the largest label; the inverse control keeps the fitted pi; t of the interpolation reaches 1.
"""

import torch
from torch import Tensor

from attacks.paper.members import (
    Members,
    answers,
    draw,
    interpolation,
    inverse,
    majority,
    mean_softmax,
    member_logits,
    random_shift,
    scrambled,
    shuffle,
)
from attacks.paper.networks import Networks, fresh, leaky


def setting(count: int = 3, *, scale: float = 0.5, batch: int = 16) -> tuple[Networks, Tensor, Members]:
    """Return two networks, their pre-activations on some images, and members calibrated on them."""
    networks = fresh([0, 1], (3, 8, 8), leaky)
    z = 3 * torch.randn(2, 400, 16, generator=torch.Generator().manual_seed(1))
    return networks, z, draw(networks, z, scale=scale, count=count, batch=batch, seed=2)


def test_a_member_on_its_own_batch_is_the_base() -> None:
    """K = h: pi sigma(g z) = sigma(z) on the calibration batch, by a plain transcription with columns."""
    networks, z, _ = setting()
    only = z[:1, :16]
    members = draw(networks.part(slice(0, 1)), only.expand(1, 16, 16), scale=0.1, count=1, batch=4000, seed=0)
    g, pi = members.g[0, 0], members.pi[0, 0]
    S = leaky(only[0].double().T)
    A = leaky(g @ only[0].double().T)
    assert float((pi @ A - S).norm() / S.norm()) < 1e-3  # k = h columns, up to the noise of 1e-4
    off = leaky(z[0, 16:].double().T)
    assert float((pi @ leaky(g @ z[0, 16:].double().T) - off).norm() / off.norm()) > 1e-2


def test_logits_follow_the_formula_member_by_member() -> None:
    """U pi sigma(g z) + c, one image and one member at a time."""
    networks, z, members = setting()
    found = member_logits(networks, members, z)
    for net, member, image in ((0, 0, 0), (1, 2, 7), (0, 1, 399)):
        moved = leaky(members.g[net, member] @ z[net, image].double())
        expected = networks.U[net].double() @ members.pi[net, member] @ moved + networks.c[net].double()
        torch.testing.assert_close(found[net, member, image], expected)


def test_the_scale_is_a_dial() -> None:
    """At scale 0 members are the base; they leave it as the scale grows."""
    distances = []
    for scale in (0.0, 0.1, 1.0):
        networks, z, members = setting(scale=scale, batch=1024)
        base = networks.read_out(z)[:, None].double()
        distances.append(float((member_logits(networks, members, z) - base).norm() / base.norm()))
    assert distances[0] < 1e-3
    assert distances[0] < distances[1] < distances[2]
    assert distances[1] > 1e-3


def test_aggregations() -> None:
    """The mean of probabilities, not of logits; the vote's ties go to the smallest label."""
    logits = torch.tensor(
        [[[[9.0, 0.0, 0.0]], [[0.0, 1.0, 0.5]], [[0.0, 1.0, 0.5]], [[0.0, 0.0, 30.0]], [[4.0, 0.0, 0.0]]]]
    )
    expected = torch.stack([row.softmax(dim=-1) for row in logits[0, :, 0]]).mean(dim=0)
    torch.testing.assert_close(mean_softmax(logits)[0, 0], expected)
    assert majority(logits).tolist() == [[0]]  # two votes for 0, two for 1


def test_answers_are_those_of_the_mean() -> None:
    """Network by network or all at once."""
    networks, z, members = setting()
    expected = mean_softmax(member_logits(networks, members, z)).argmax(dim=-1)
    assert torch.equal(answers(networks, members, z), expected)
    assert members.first(2).g.shape == (2, 2, 16, 16)


def test_controls_are_what_they_are_called() -> None:
    """Shift within scale; permutations uncompensated; pi = g⁻¹; condition at most 11; columns of pi permuted."""
    networks, z, members = setting(count=20, scale=1.0)
    shifted = random_shift(members, scale=10.0, seed=0)
    assert 9 < float(shifted.shift.max()) <= 10
    assert float(shifted.shift.min()) >= 0
    mixed = shuffle(members, scale=1.0, seed=0)
    assert torch.equal(mixed.g.sum(-1), torch.ones_like(mixed.shift))
    assert torch.equal(mixed.g.sum(-2), torch.ones_like(mixed.shift))
    assert torch.equal(mixed.pi[0, 0], torch.eye(16).double())
    back = inverse(members, scale=1.0, seed=0)
    torch.testing.assert_close(back.pi @ back.g, torch.eye(16).double().expand_as(back.g), rtol=0, atol=1e-8)
    between = interpolation(members, scale=1.0, seed=0)
    conditions = torch.linalg.cond(between.g)
    assert float(conditions.max()) <= 11 + 1e-6
    assert float(conditions.max()) > 2
    torch.testing.assert_close(between.pi @ between.g, torch.eye(16).double().expand_as(between.g))
    wrong = scrambled(members, scale=1.0, seed=0)
    torch.testing.assert_close(wrong.pi.sort(dim=-1).values, members.pi.sort(dim=-1).values)
    assert not torch.equal(wrong.pi, members.pi)
    assert not torch.equal(answers(networks, wrong, z), answers(networks, members, z))
