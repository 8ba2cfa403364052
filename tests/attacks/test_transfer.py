"""The transfer matrix counts what its definitions say, and the stacked pass makes what separate runs make.

Seen to fail when: rows and columns of `held` are swapped; the source's own mistakes are counted; the diagonal enters
the spread; a member is given its neighbour's rows; the base's column is the target's; wrong points are perturbed.
"""

import numpy as np
import pytest
import torch
from torch import nn

import ensemble
from attacks import ThreatModel
from attacks.gradient import KEEP_SURROGATE_LOSS, pgd
from attacks.ladder import craft
from attacks.metrics import rate
from attacks.stacked import OwnInputs, stacked_members
from attacks.statistics import wilson
from attacks.targets import EnsembleModel, wrap
from attacks.transfer import craft_on_members, joined, transfer_block, transfer_matrix
from ensemble.errors import InputError
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)
HEADLINE = ThreatModel("linf", (0.1,))


def _attack() -> object:
    return pgd("linf", steps=5, rel_stepsize=0.3, random_start=False, keep=KEEP_SURROGATE_LOSS)


@pytest.fixture(scope="module")
def model(members: ensemble.SymmetryEnsemble, held_out: Points) -> EnsembleModel:
    """The two-member ensemble as a target."""
    wrapped = wrap(members, bounds=BOX, example=held_out.inputs[:4])
    assert isinstance(wrapped, EnsembleModel)
    return wrapped


def test_stacked_members_answer_on_their_own_rows(members: ensemble.SymmetryEnsemble, held_out: Points) -> None:
    """The first half of the rows is the first member's, the second half the second's, gradients included."""
    first, second = held_out.inputs[:7], held_out.inputs[7:14]
    rows = torch.cat([first, second]).requires_grad_()
    stacked = OwnInputs(members, range(2))(rows)
    expected = torch.cat([members.member(0)(first), members.member(1)(second)])
    torch.testing.assert_close(stacked, expected, atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(stacked[:7].sum(), rows)
    assert float(gradient[7:].abs().max()) == 0.0
    assert float(gradient[:7].abs().max()) > 0.0
    alone = OwnInputs(members, range(1, 2))(second)
    torch.testing.assert_close(alone, expected[7:], atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="same number of rows"):
        OwnInputs(members, range(2))(rows[:5])


def test_the_block_is_what_separate_runs_give(
    model: EnsembleModel, members: ensemble.SymmetryEnsemble, network: nn.Module, held_out: Points
) -> None:
    """Crafting member by member with plain foolbox and judging by plain networks gives the same verdicts."""
    inputs, labels = held_out.inputs[:40], held_out.labels[:40]
    base = wrap(network, bounds=BOX, example=inputs[:4])
    names = (["member-0", "member-1"], "base", "ensemble")
    block = transfer_block(_attack(), model, base, inputs, labels, HEADLINE, names=names)
    assert block.judges == ("member-0", "member-1", "base", "ensemble")
    judges = [*(members.member(k) for k in range(2)), network, members]
    plain = [wrap(judge, bounds=BOX, example=inputs[:4]) for judge in judges]
    for source in range(2):
        made = craft(_attack(), plain[source], inputs, labels, HEADLINE).examples[0]
        right = plain[source].answers(inputs) == labels
        assert torch.equal(block.crafted.examples[source][~right], inputs[~right])
        for column, judge in enumerate(plain):
            assert torch.equal(block.held[source, column][right], (judge.answers(made) == labels)[right])
    assert block.crafted.excess <= HEADLINE.tolerance
    fewer = transfer_block(_attack(), model, base, inputs, labels, HEADLINE, names=(["member-0"], "base", "ensemble"))
    assert torch.equal(fewer.held, block.held[:1, [0, 2, 3]])
    assert block.crafted.forwards > block.crafted.backwards > 0


def test_the_stacked_pass_makes_the_same_examples(model: EnsembleModel, held_out: Points) -> None:
    """All members in one pass and one after the other agree up to the rounding of their kernels."""
    inputs, labels = held_out.inputs[:20], held_out.labels[:20]
    right = model.member_answers(inputs) == labels
    one_by_one = craft_on_members(_attack(), model, inputs, labels, HEADLINE, right=right).examples
    together = craft(_attack(), stacked_members(model, range(2)), inputs.repeat(2, 1, 1, 1), labels.repeat(2), HEADLINE)
    difference = (together.examples[0].unflatten(0, (2, -1)) - one_by_one)[right].abs()
    assert float((difference > 1e-4).float().mean()) < 0.01


def _flags(text: str) -> np.ndarray:
    return np.array([bit == "1" for bit in text])


def test_rates_are_counted_by_hand() -> None:
    """Forty points, two members: the conditional rate is of points right on both and fooled on the source."""
    n = 40
    clean = {"m0": np.ones(n, bool), "m1": np.ones(n, bool), "F": np.ones(n, bool)}
    clean["m0"][:2] = False  # wrong from the start: in no rate
    clean["m1"][2:4] = False
    held = {
        "m0": {"m0": np.zeros(n, bool), "m1": np.arange(n) >= 10, "F": np.arange(n) >= 34},
        "m1": {"m0": np.arange(n) >= 39, "m1": np.arange(n) >= 38, "F": np.ones(n, bool)},
    }
    matrix = transfer_matrix(clean, held)
    assert matrix.sources == ("m0", "m1")
    assert matrix.judges == ("m0", "m1", "F")
    assert (matrix.rate[0][1].k, matrix.rate[0][1].n) == (6, 36)  # points 4 to 9 of 4 to 39
    assert (matrix.rate[0][2].k, matrix.rate[0][2].n) == (32, 38)
    assert (matrix.rate[1][0].k, matrix.rate[1][0].n) == (34, 34)
    assert (matrix.rate[0][0].k, matrix.rate[0][0].n) == (38, 38)
    assert (matrix.rate_all_right[0][1].k, matrix.rate_all_right[0][1].n) == (6, 36)
    assert (matrix.rate_all_right[1][1].k, matrix.rate_all_right[1][1].n) == (34, 36)
    spread = matrix.off_diagonal
    assert spread.least == rate(6, 36)
    assert spread.largest == rate(34, 34)
    assert spread.mean == pytest.approx((6 / 36 + 1) / 2)
    assert spread.cells == 2


def test_a_small_denominator_has_no_rate() -> None:
    """With 29 points fooled on the source there is a count and no share."""
    clean = {"m0": np.ones(29, bool), "m1": np.ones(29, bool)}
    held = {s: {j: np.zeros(29, bool) for j in clean} for s in clean}
    matrix = transfer_matrix(clean, held)
    assert matrix.rate[0][1].value is None
    assert matrix.rate[0][1].n == 29
    assert matrix.off_diagonal.mean is None


def test_the_mean_of_one_cell_has_the_binomial_interval() -> None:
    """With a single cell the delta method is the normal interval of a proportion, close to Wilson's."""
    n, point = 400, np.arange(450)
    clean = {"m0": point >= 0, "m1": point < n}  # points that the judge has wrong from the start do not enter
    idle = dict.fromkeys(clean, point >= 0)  # an attack that fools nobody: no rate
    held = {"m0": {"m0": point < 0, "m1": (point >= 100) & (point < n)}, "m1": idle}
    spread = transfer_matrix(clean, held).off_diagonal
    assert spread.low == pytest.approx(0.25 - 1.959964 * (0.25 * 0.75 / n) ** 0.5)
    assert spread.high == pytest.approx(wilson(100, n)[1], abs=0.005)


def test_cells_that_share_points_do_not_narrow_the_interval() -> None:
    """Six equal cells say no more than one: their mean's interval is as wide."""
    n = 400
    names = ("m0", "m1", "m2")
    clean = {name: np.ones(n, bool) for name in names}
    moved = np.arange(n) >= 100
    held = {s: {j: np.zeros(n, bool) if s == j else moved for j in names} for s in names}
    many = transfer_matrix(clean, held).off_diagonal
    idle = dict.fromkeys(names[:2], np.ones(n, bool))
    one = transfer_matrix(clean, {"m0": {"m0": held["m0"]["m0"], "m1": moved}, "m1": idle}).off_diagonal
    assert (many.low, many.high) == pytest.approx((one.low, one.high))


def test_blocks_are_joined_in_order() -> None:
    """Strings of blocks become one array per source and judge."""
    blocks = [{"m0": {"F": "10"}}, {"m0": {"F": "011"}}]
    assert joined(blocks)["m0"]["F"].tolist() == _flags("10011").tolist()
