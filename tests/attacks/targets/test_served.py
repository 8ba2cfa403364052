"""The target is what the server serves: same labels, mode by mode, for float and for UINT8 inputs.

Seen to fail with: the coding left out of the target; the row of `logit` aggregating probabilities; a point held under
`random_member` when any member is right.
"""

import numpy as np
import pytest
import torch

from attacks.targets import UINT8, EnsembleModel, wrap
from ensemble import SymmetryEnsemble
from ensemble.aggregation import aggregation
from service.inference.outputs import compute
from service.inference.plans import FastestPlan
from service.inference.questions import Question
from service.inference.tensors import Rows
from service.inference.views import View
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)
#: Grey levels per pixel that the attack may have moved: enough for members to disagree on many points.
NOISE = 90


def served(members: SymmetryEnsemble, rows: Rows, mode: str, *, seed: int = 0, output: str = "labels") -> torch.Tensor:
    """Return an output that the server's own code sends for rows."""
    question = Question(View("digits"), frozenset({output}), mode=mode, datatype=str(rows.dtype))
    way = aggregation(mode, rng=torch.Generator().manual_seed(seed))
    done = compute(members, question, rows, device="cpu", fastest=FastestPlan(), aggregation=way)
    return torch.from_numpy(done.results[output])


@pytest.fixture(scope="module")
def noisy(held_out: Points) -> torch.Tensor:
    """Digits under noise, `[n 1 8 8]` float32, off the levels of UINT8."""
    rng = torch.Generator().manual_seed(0)
    inputs = held_out.inputs.repeat(3, 1, 1, 1)
    return (inputs + (torch.rand(inputs.shape, generator=rng) - 0.5) * 2 * NOISE / 255).clamp(0, 1)


@pytest.mark.parametrize("mode", ["prob", "logit", "vote"])
def test_a_verdict_is_the_label_that_is_sent(mode: str, members: SymmetryEnsemble, noisy: torch.Tensor) -> None:
    """Float rows: answers, arg max of the attacked scores and the sent labels agree on every point."""
    model = wrap(members, bounds=BOX, example=noisy[:4], mode=mode)
    sent = served(members, noisy.numpy(), mode)
    assert torch.equal(model.answers(noisy), sent)
    assert torch.equal(model(noisy).argmax(1), sent)
    if mode != "vote":  # whose scores are shares with a tie-break, not counts
        torch.testing.assert_close(model(noisy), served(members, noisy.numpy(), mode, output="logits"))


@pytest.mark.parametrize("mode", ["prob", "logit", "vote"])
def test_uint8_rows_are_judged_as_they_are_decoded(mode: str, members: SymmetryEnsemble, noisy: torch.Tensor) -> None:
    """What a client can send of a float example is its rounding: the coded target names the label sent for that."""
    model = wrap(members, bounds=BOX, example=noisy[:4], mode=mode, coding=UINT8)
    rows = (noisy * 255).round().to(torch.uint8).numpy()
    assert torch.equal(model.answers(noisy), served(members, rows, mode))
    decoded = torch.from_numpy(rows.astype(np.float32) / np.float32(255))
    assert torch.equal(UINT8(noisy), decoded)
    if mode != "vote":
        torch.testing.assert_close(model(noisy), served(members, rows, mode, output="logits"))


def test_modes_disagree_on_these_points(members: SymmetryEnsemble, noisy: torch.Tensor) -> None:
    """Else the tests above could not tell one mode from another."""
    answers = [wrap(members, bounds=BOX, example=noisy[:4], mode=mode).answers(noisy) for mode in ("prob", "vote")]
    assert int((answers[0] != answers[1]).sum()) > 0


def test_a_point_held_under_random_members_is_held_by_every_draw(
    members: SymmetryEnsemble, noisy: torch.Tensor, held_out: Points
) -> None:
    """Twenty draws of the server never miss it; of the points not held, some draw misses some."""
    model = wrap(members, bounds=BOX, example=noisy[:4], mode="random_member")
    assert isinstance(model, EnsembleModel)
    labels = held_out.labels.repeat(3)
    held = model.held(noisy, labels)
    draws = torch.stack([served(members, noisy.numpy(), "random_member", seed=k) == labels for k in range(20)])
    assert bool(draws[:, held].all())
    mixed = ~held & (model.member_answers(noisy) == labels).any(0)
    assert int(mixed.sum()) > 0
    assert bool((~draws[:, mixed]).any())
    assert bool(draws[:, mixed].any())
