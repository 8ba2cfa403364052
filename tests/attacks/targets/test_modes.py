"""Every serving mode answers what a server answers, and its gradient is the one it says.

Seen to fail with: the tie-break of votes added instead of subtracted, or left out; soft votes without their
temperature; the value of the soft votes served instead of the hard ones; counts instead of shares; `random_member` held
when any member is right; the `logit` row aggregating probabilities.
"""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks.modes import SERVING_MODES, serving_mode, vote
from attacks.targets import EnsembleModel, NetworkModel, with_mode, wrap
from ensemble import SymmetryEnsemble
from ensemble.aggregation import DETERMINISTIC, aggregation
from ensemble.errors import InputError, LevelsetError, UnknownName
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)


class Table(nn.Module):
    """Members that answer fixed logits `[member batch classes]`, whatever the input, plus its mean."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", logits)
        self.train(False)

    def member_logits(self, inputs: Tensor) -> Tensor:
        """Return the table's rows of the batch."""
        table: Tensor = self.get_buffer("table")
        return table[:, : len(inputs)] + 0 * inputs.mean((1, 2, 3))[None, :, None]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the log of the mean probability."""
        return aggregation("prob")(self.member_logits(inputs))


def coarse_logits(members: int, batch: int, classes: int, seed: int) -> Tensor:
    """Return logits with a few integer values only, so that all kinds of ties occur."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, (members, batch, classes), generator=rng).float()


def model_of(logits: Tensor, mode: str) -> EnsembleModel:
    """Return the table of logits as a target."""
    model = wrap(Table(logits), bounds=BOX, example=torch.zeros(2, 1, 2, 2), mode=mode)
    assert isinstance(model, EnsembleModel)
    return model


@pytest.mark.parametrize("mode", [value.name for value in DETERMINISTIC])
@pytest.mark.parametrize(("members", "classes"), [(1, 2), (4, 3), (7, 10)])
def test_the_arg_max_of_the_scores_is_the_served_answer_ties_included(mode: str, members: int, classes: int) -> None:
    """On logits full of ties, model, verdict and the aggregation a server uses name the same class."""
    logits = coarse_logits(members, 500, classes, seed=members)
    served = aggregation(mode)(logits).argmax(1)
    model, inputs = model_of(logits, mode), torch.zeros(500, 1, 2, 2)
    assert torch.equal(model(inputs).argmax(1), served)
    assert torch.equal(model.answers(inputs), served)
    assert torch.equal(model.held(inputs, served), torch.ones(500, dtype=torch.bool))
    if members % 2 == 0 and mode == "vote":
        counts = aggregation("vote")(logits).topk(2).values
        assert int((counts[:, 0] == counts[:, 1]).sum()) > 50


def test_a_vote_s_margin_is_negative_exactly_where_the_answer_is_wrong() -> None:
    """Keep-best attacks rank by the margin, so that a tie must not look like a point still held."""
    logits = coarse_logits(4, 500, 5, seed=1)
    scores, labels = SERVING_MODES["vote"].scores(logits), torch.zeros(500, dtype=torch.int64) + 2
    others = scores.clone()
    others[:, 2] = -torch.inf
    margin = scores[:, 2] - others.amax(1)
    assert torch.equal(margin < 0, scores.argmax(1) != labels)
    assert bool((margin != 0).all())


@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_the_gradient_of_votes_is_that_of_soft_votes(temperature: float) -> None:
    """Straight through: values are vote shares, gradients those of the mean of softmax(tau z)."""
    logits = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    scores = vote(temperature).scores(logits)
    (found,) = torch.autograd.grad((weights * scores).sum(), logits)
    soft = (temperature * logits).softmax(-1).mean(0)
    (expected,) = torch.autograd.grad((weights * soft).sum(), logits)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    tie_break = torch.arange(4) / 4
    torch.testing.assert_close(scores, (aggregation("vote")(logits) - tie_break) / 3, rtol=0, atol=1e-7)


def test_unanimous_votes_of_many_members_keep_a_gradient() -> None:
    """Two hundred members of one mind still tell an attacker where to go."""
    logits = torch.zeros(200, 1, 10)
    logits[:, :, 3] = 2.0
    logits.requires_grad_()
    loss = functional.cross_entropy(SERVING_MODES["vote"].scores(logits), torch.tensor([3]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(gradient.norm()) > 1e-3


def test_random_member_has_the_gradient_of_the_exact_expectation() -> None:
    """Its cross-entropy is minus the log of the mean probability, differentiated in float64 by hand."""
    logits = torch.randn(5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    labels = torch.tensor([0, 3, 1])
    loss = functional.cross_entropy(SERVING_MODES["random_member"].scores(logits), labels, reduction="sum")
    (found,) = torch.autograd.grad(loss, logits)
    right = logits.softmax(-1)[:, torch.arange(3), labels]
    (expected,) = torch.autograd.grad(-right.mean(0).log().sum(), logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(loss.detach(), -right.detach().mean(0).log().sum())


def test_random_member_holds_a_point_only_when_all_members_are_right() -> None:
    """One wrong member loses the point; its answer by expectation may still be right."""
    logits = torch.full((3, 2, 2), -3.0)
    logits[:, :, 0] = 3.0
    logits[2, 1] = torch.tensor([-3.0, 3.0])
    model, inputs = model_of(logits, "random_member"), torch.zeros(2, 1, 2, 2)
    assert model.answers(inputs).tolist() == [0, 0]
    assert model.held(inputs, torch.zeros(2, dtype=torch.int64)).tolist() == [True, False]
    assert model.with_mode("vote").held(inputs, torch.zeros(2, dtype=torch.int64)).tolist() == [True, True]


def test_modes_say_what_they_are() -> None:
    """One row is random, one stepwise; the mode of a model is its row's name."""
    assert [name for name, row in SERVING_MODES.items() if row.random] == ["random_member"]
    assert [name for name, row in SERVING_MODES.items() if row.stepwise] == ["vote"]
    assert all(name == row.name for name, row in SERVING_MODES.items())
    assert model_of(torch.zeros(1, 2, 2) - torch.arange(2), "logit").mode == "logit"


def test_modes_differ_where_they_should() -> None:
    """One confident member outweighs two in `logit`, does not in `vote`."""
    logits = torch.tensor([[[9.0, 0.0]], [[0.5, 1.5]], [[0.5, 1.5]]]).expand(3, 2, 2)
    inputs = torch.zeros(1, 1, 2, 2)
    assert {mode: int(model_of(logits, mode).answers(inputs)) for mode in ("prob", "logit", "vote")} == {
        "prob": 0,
        "logit": 0,
        "vote": 1,
    }


@pytest.mark.parametrize("mode", list(SERVING_MODES))
def test_a_real_ensemble_answers_in_every_mode(mode: str, members: SymmetryEnsemble, held_out: Points) -> None:
    """Scores are the aggregated member logits, verdicts the ensemble's own where it has a say, passes are counted."""
    model = wrap(members, bounds=BOX, example=held_out.inputs[:4], mode=mode)
    x = held_out.inputs[:20].clone().requires_grad_()
    scores = model(x)
    expected = SERVING_MODES[mode].scores(members.member_logits(held_out.inputs[:20]))
    torch.testing.assert_close(scores.detach(), expected, rtol=0, atol=0)
    functional.cross_entropy(scores, held_out.labels[:20]).backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0
    assert (model.passes.forwards, model.passes.backwards) == (20, 20)
    assert torch.equal(model.logits(held_out.inputs[:20]), expected)
    assert (model.passes.forwards, model.passes.backwards) == (20, 20)
    if mode == "prob":
        assert torch.equal(model.answers(held_out.inputs), members.predict(held_out.inputs).labels)


def test_another_mode_is_another_model_of_the_same_network(members: SymmetryEnsemble, held_out: Points) -> None:
    """The first model keeps its mode and its count; member passes count like any other."""
    model = wrap(members, bounds=BOX, example=held_out.inputs[:4])
    other = with_mode(model, vote(5.0))
    assert isinstance(model, EnsembleModel)
    assert isinstance(other, EnsembleModel)
    assert (model.mode, other.mode) == ("prob", "vote")
    assert other.network is model.network
    other.member_logits(held_out.inputs[:3])
    assert (model.passes.forwards, other.passes.forwards) == (0, 3)


def test_what_is_no_mode_is_refused(network: nn.Module, members: SymmetryEnsemble, held_out: Points) -> None:
    """An unknown name lists the known ones; a single network has no modes; a temperature is positive."""
    with pytest.raises(UnknownName, match=r"\[logit, prob, random_member, vote\], got 'mean'"):
        wrap(members, bounds=BOX, example=held_out.inputs[:4], mode="mean")
    single = wrap(network, bounds=BOX, example=held_out.inputs[:4], mode="vote")
    assert type(single) is NetworkModel
    with pytest.raises(InputError, match="got a single network"):
        with_mode(single, "vote")
    with pytest.raises(InputError, match="expected a number > 0, got 0"):
        vote(0)
    assert serving_mode("prob") is SERVING_MODES["prob"]


@pytest.mark.parametrize("mode", list(SERVING_MODES))
def test_a_member_that_answers_nan_is_never_outvoted(mode: str) -> None:
    """A vote would hide it: the verdict is an error in every mode."""
    logits = coarse_logits(3, 4, 3, seed=0)
    model = model_of(logits, mode)
    model.network.get_buffer("table")[1, 2, 0] = torch.nan
    with pytest.raises(LevelsetError, match="numerically broken"):
        model.held(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))
