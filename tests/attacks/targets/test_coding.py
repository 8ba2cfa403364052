"""Attacks run through the rounding of stored pixels: verdict on the rounded input, gradient straight through.

Seen to fail with: floor instead of round; 256 steps instead of 255; the gradient of `round` itself (zero); coding left
out of member logits, or of the verdict; levels computed as k * (1/255).
"""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attacks.gradient import KEEP_SERVED_MARGIN, pgd
from attacks.targets import FLOAT32, UINT8, EnsembleModel, Rounded, wrap
from ensemble import SymmetryEnsemble
from ensemble.errors import InputError
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)


class Steps(nn.Module):
    """A network that tells 127.4/255 from 127.6/255 only if nobody rounds: its margin is linear in the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (mean - 127.2/255, 0), times a thousand."""
        margin = 1000 * (inputs.mean((1, 2, 3)) - 127.2 / 255)
        return torch.stack([margin, torch.zeros_like(margin)], 1)


def test_a_rounded_input_is_what_a_decoder_yields() -> None:
    """Every UINT8 value, sent as a float and off by less than half a level, arrives as numpy's k/255 in float32."""
    k = np.arange(256, dtype=np.uint8)
    decoded = torch.from_numpy(k.astype(np.float32) / np.float32(255))
    for shift in (-0.49, 0.0, 0.49):
        sent = (torch.arange(256) + shift).clamp(0, 255) / 255
        assert torch.equal(UINT8(sent), decoded)
    assert torch.equal(torch.from_numpy(k).float().div_(255), decoded)


def test_other_bounds_have_their_own_levels() -> None:
    """Three levels of [-1, 1] are -1, 0 and 1."""
    coding = Rounded((-1.0, 1.0), levels=3)
    assert coding(torch.tensor([-1.0, -0.6, -0.4, 0.1, 0.7])).tolist() == [-1, -1, 0, 0, 1]


def test_the_gradient_passes_straight_through() -> None:
    """The derivative of the rounding is taken to be one."""
    x = torch.rand(2, 1, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    (weights * UINT8(x)).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, weights)


def test_the_verdict_is_that_of_the_rounded_path() -> None:
    """An example that fools the float network and is rounded back does not count as fooling the served one."""
    inputs = torch.full((1, 1, 2, 2), 127.1 / 255)
    plain = wrap(Steps(), bounds=BOX, example=inputs)
    served = plain.with_coding(UINT8)
    assert plain.coding is FLOAT32
    assert plain.answers(inputs).tolist() == [1]
    assert plain.answers(inputs + 0.3 / 255).tolist() == [0]
    assert served.answers(inputs + 0.3 / 255).tolist() == [1]
    assert served.answers(inputs + 0.6 / 255).tolist() == [0]
    assert torch.equal(served(inputs), served.logits(inputs))


def test_an_attack_through_the_rounding_finds_what_survives_it() -> None:
    """PGD on the served model crosses the level that counts; on the float network it stops before."""
    inputs, labels = torch.full((3, 1, 2, 2), 126.4 / 255), torch.ones(3, dtype=torch.int64)
    served = wrap(Steps(), bounds=BOX, example=inputs, coding=UINT8)
    attack = pgd("linf", steps=20, rel_stepsize=0.1, random_start=False, keep=KEEP_SERVED_MARGIN)
    found = attack.run(served, inputs, labels, epsilon=2 / 255)
    assert not served.held(found, labels).any()
    on_float = attack.run(wrap(Steps(), bounds=BOX, example=inputs), inputs, labels, epsilon=0.85 / 255)
    assert served.held(on_float, labels).all()
    assert served.passes.forwards > 0


def test_members_see_rounded_inputs_too(members: SymmetryEnsemble, held_out: Points) -> None:
    """Member logits, scores and verdicts of a coded ensemble are those of the rounded inputs, in any mode."""
    coding = Rounded(BOX, levels=5)
    x = held_out.inputs[:10]
    for mode in ("prob", "logit", "vote"):
        model = wrap(members, bounds=BOX, example=x, mode=mode, coding=coding)
        by_hand = wrap(members, bounds=BOX, example=x, mode=mode)
        assert isinstance(model, EnsembleModel)
        assert isinstance(by_hand, EnsembleModel)
        assert torch.equal(model.logits(x), by_hand.logits(coding(x)))
        assert torch.equal(model(x), by_hand(coding(x)))
        assert torch.equal(model.member_logits(x), by_hand.member_logits(coding(x)))
        assert not torch.equal(model.member_logits(x), by_hand.member_logits(x))
        assert model.with_mode("logit").coding is coding
        assert model.with_coding(FLOAT32).mode == mode


@pytest.mark.parametrize(("bounds", "levels"), [((0.0, 1.0), 1), ((0.0, 1.0), 2.5), ((1.0, 0.0), 256)])
def test_malformed_roundings_are_refused(bounds: tuple[float, float], levels: int) -> None:
    """At least two levels, in a box that has an inside."""
    with pytest.raises(InputError, match="expected"):
        Rounded(bounds, levels=levels)
