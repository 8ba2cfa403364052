"""Certificates of ensembles hold for what is served, count right, and are refused where an attack contradicts them.

Seen to fail when: a half of the votes suffices; the probability rule takes the upper bound of p_y; the slack is
forgotten; the ball is not cut to the box; the flags of other points are compared; a broken point is let through.
"""

import numpy as np
import pytest
import torch
from torch import nn

import ensemble
from attacks import ThreatModel
from attacks.certificates import (
    Certificate,
    CertificateContradiction,
    NoRule,
    certified_flags,
    certify,
    inherited,
    margin_bounds,
    refuse_contradictions,
)
from attacks.gradient import KEEP_SERVED_MARGIN, pgd
from attacks.ladder import craft
from attacks.targets import UINT8, NetworkModel, wrap
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)
THREAT = ThreatModel("linf", (0.002, 0.01))


def test_votes_need_more_than_half() -> None:
    """Two of four members certified are not enough; three are."""
    margins = torch.full((4, 1, 3), -1.0)
    margins[..., 0] = torch.inf
    margins[:2, 0, 1:] = 1.0
    assert not certified_flags(margins, "vote")[0]
    margins[2, 0, 1:] = 1.0
    assert certified_flags(margins, "vote")[0]
    assert not certified_flags(margins, "random_member")[0]


def test_mean_logits_may_outweigh_a_lost_member() -> None:
    """The mean margin counts, class by class: (5, 1) with (-1, 1) is certified, (1, 3) with (-1, -1) is not."""
    margins = torch.full((2, 2, 3), torch.inf)
    margins[:, 0, 1:] = torch.tensor([[5.0, 1.0], [-1.0, 1.0]])
    margins[:, 1, 1:] = torch.tensor([[1.0, 3.0], [-1.0, -1.0]])
    assert certified_flags(margins, "logit").tolist() == [True, False]


@pytest.mark.parametrize("mode", ["prob", "logit", "vote"])
def test_rules_hold_for_every_logits_within_the_margins(mode: str) -> None:
    """Random member logits that respect the bounds never change the served answer of a certified point."""
    rng = torch.Generator().manual_seed(0)
    margins = 6 * torch.rand(3, 400, 4, generator=rng) - 1.5
    margins[..., 0] = torch.inf
    certified = certified_flags(margins, mode)
    assert 20 < int(certified.sum()) < 400
    surplus = torch.rand(200, 3, 400, 4, generator=rng) * torch.tensor([0.0, 0.5])[torch.randint(2, (200, 1, 1, 1))]
    logits = torch.where(margins.isinf(), torch.zeros(()), -(margins + surplus))
    for draw in logits:
        served = {
            "prob": draw.softmax(2).mean(0).argmax(1),
            "logit": draw.mean(0).argmax(1),
            "vote": nn.functional.one_hot(draw.argmax(2), 4).sum(0).argmax(1),
        }[mode]
        assert bool((served[certified] == 0).all())


@pytest.fixture(scope="module")
def base(network: nn.Module, held_out: Points) -> NetworkModel:
    """The plain digits classifier as a target."""
    return wrap(network, bounds=BOX, example=held_out.inputs[:4])


def test_certified_points_survive_an_attack(base: NetworkModel, held_out: Points) -> None:
    """The bracket of a real network: some points certified at a small radius, none of them broken by PGD."""
    found = certify(base, held_out.inputs, held_out.labels, [THREAT], points=range(60), target="base")
    attack = pgd("linf", steps=20, rel_stepsize=0.2, random_start=True, keep=KEEP_SERVED_MARGIN)
    made = craft(attack, base, held_out.inputs, held_out.labels, THREAT)
    held = torch.stack([base.held(rung, held_out.labels) for rung in made.examples]).numpy()
    assert [item.epsilon for item in found] == [0.002, 0.01]
    assert sum(found[0].flags) > sum(found[1].flags)
    assert sum(found[0].flags) > 20
    for item, rung in zip(found, held, strict=True):
        refuse_contradictions(item, rung)
        row = item.to_dict()
        assert row["certified"]["n"] == 60
        assert row["certified"]["k"] == sum(item.flags) <= int(rung[:60].sum())
    again = Certificate.from_json(found[0].to_json())
    assert (again.flags, again.points, again.to_dict()) == (found[0].flags, found[0].points, found[0].to_dict())


def test_the_slack_is_part_of_every_margin(base: NetworkModel, network: nn.Module, held_out: Points) -> None:
    """A deviation of the null test moves every margin down by twice itself."""
    x, y = held_out.inputs[:30], held_out.labels[:30]
    low, high = (x - 0.002).clamp(0, 1), (x + 0.002).clamp(0, 1)
    margins = margin_bounds(network, low, high, y).amin(1)
    small = ThreatModel("linf", (0.002,))
    for deviation in (0.0, 1.0):
        (item,) = certify(base, x, y, [small], points=range(30), target="base", deviation=deviation)
        assert item.slack == pytest.approx(2 * deviation, abs=1e-4)
        assert list(item.flags) == (margins > item.slack).tolist()


def test_an_ensemble_is_certified_by_its_members(members: ensemble.SymmetryEnsemble, held_out: Points) -> None:
    """Random serving needs every member and certifies least; each mode's count is at most its clean count."""
    x, y = held_out.inputs[:30], held_out.labels[:30]
    small = ThreatModel("linf", (0.001,))
    counts = {}
    for mode in ("prob", "logit", "vote", "random_member"):
        model = wrap(members, bounds=BOX, example=x[:4], mode=mode)
        (item,) = certify(model, x, y, [small], points=range(30), target="ensemble")
        counts[mode] = sum(item.flags)
        assert not np.any(np.array(item.flags) & ~model.held(x, y).numpy())
    assert 0 < counts["random_member"] <= min(counts["logit"], counts["prob"])
    assert counts["random_member"] == counts["vote"]  # two members: more than half is both


def test_an_exact_symmetry_inherits(base: NetworkModel, held_out: Points) -> None:
    """The same flags under another name."""
    made = certify(base, held_out.inputs, held_out.labels, [THREAT], points=range(10), target="base", deviation=1e-4)
    passed_on = inherited(made)
    assert [item.flags for item in passed_on] == [item.flags for item in made]
    assert {item.method for item in passed_on} == {"IBP, inherited from the base"}


def test_a_contradiction_is_an_error() -> None:
    """A certified point that fell stops the job and is named; a point that was never certified does not."""
    item = Certificate("IBP", "base", 0, "linf", 0.1, (3, 5), (True, False), 0.0, 0.0)
    held = np.ones(8, dtype=bool)
    held[5] = False
    refuse_contradictions(item, held)
    held[3] = False
    with pytest.raises(CertificateContradiction, match="point 3"):
        refuse_contradictions(item, held)


def test_what_cannot_be_certified_is_refused_with_a_reason(network: nn.Module, held_out: Points) -> None:
    """Rounded inputs and an impatient caller get a reason, no number."""
    x, y = held_out.inputs, held_out.labels
    rounded = wrap(network, bounds=BOX, example=x[:4], coding=UINT8)
    with pytest.raises(NoRule, match="UINT8"):
        certify(rounded, x, y, [THREAT], points=range(5), target="network")
    plain = wrap(network, bounds=BOX, example=x[:4])
    with pytest.raises(NoRule, match="longer than 0 s"):
        certify(plain, x, y, [THREAT], points=range(5), target="network", patience=0.0)
