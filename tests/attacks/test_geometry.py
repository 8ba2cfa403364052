"""What members share is computed as its definition says, on members whose gradients and answers are known.

Seen to fail when: gradients are those of the mean; a cosine is taken without its norms; rows and columns of the cross
loss are swapped; a pair of a member with itself counts as agreement; KL is taken the other way round; a prefix keeps
one member more; the wrong member is left out.
"""

import math

import pytest
import torch
from torch import Tensor, nn

import ensemble
from attacks.evaluation import Evaluation
from attacks.geometry import (
    accuracy_without,
    cross_adversarial_loss,
    disagreement,
    member_gradients,
    member_numbers,
    off_diagonal_mean,
    pairwise_cosine,
    prefix_accuracy,
)
from attacks.gradient.keeping import served_margin
from attacks.probes import probe
from attacks.targets import EnsembleModel, NetworkModel, wrap
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)


class _Linear(nn.Module):
    """Members that are linear maps of two inputs to two logits, given by hand."""

    def __init__(self, *weights: list[list[float]]) -> None:
        super().__init__()
        self.weight = nn.Buffer(torch.tensor(weights))
        self.eval()

    def member_logits(self, inputs: Tensor) -> Tensor:
        return torch.einsum("mci,bi->mbc", self.weight, inputs.flatten(1))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.member_logits(inputs).softmax(2).mean(0).log()


def _model(network: nn.Module, example: Tensor, mode: str = "prob") -> EnsembleModel:
    wrapped = wrap(network, bounds=BOX, example=example, mode=mode)
    assert isinstance(wrapped, EnsembleModel)
    return wrapped


X = torch.tensor([[0.8, 0.1], [0.2, 0.9]])[:, None, None]
Y = torch.tensor([0, 1])


def test_cosines_of_linear_members_are_those_of_their_weights() -> None:
    """Margins of (x0 - x1), (x0) and (x1 - x0): cosines 1/sqrt 2 and -1, whatever the scale."""
    network = _Linear([[1.0, 0.0], [0.0, 1.0]], [[5.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]])
    cosine = pairwise_cosine(member_gradients(_model(network, X), X, Y))
    expected = torch.tensor([[1.0, 0.5**0.5, -1.0], [0.5**0.5, 1.0, -(0.5**0.5)], [-1.0, -(0.5**0.5), 1.0]])
    torch.testing.assert_close(cosine.float(), expected)
    assert off_diagonal_mean(cosine) == pytest.approx(-1 / 3)
    assert off_diagonal_mean(cosine[:1, :1]) == 1.0


def test_gradients_of_real_members_are_each_one_s_own(members: ensemble.SymmetryEnsemble, held_out: Points) -> None:
    """The stacked members give what each member, taken out, gives by itself."""
    x, y = held_out.inputs[:9], held_out.labels[:9]
    found = member_gradients(_model(members, x), x, y)
    for index in range(2):
        z = x.clone().requires_grad_()
        (own,) = torch.autograd.grad(served_margin(members.member(index)(z), y).sum(), z)
        torch.testing.assert_close(found[index].float(), own.flatten(1), atol=1e-3, rtol=1e-3)


def test_the_cross_loss_has_makers_in_rows() -> None:
    """Examples that only the second member was shown are bad for the second column of the second row."""
    network = _Linear([[4.0, 0.0], [0.0, 4.0]], [[0.0, 4.0], [4.0, 0.0]])
    turned = X.flip(3)
    loss = cross_adversarial_loss(_model(network, X), torch.stack([X, turned]), Y)
    margin = torch.tensor([2.8, 2.8])
    right, wrong = (float(nn.functional.softplus(sign * margin).mean()) for sign in (-1, 1))
    torch.testing.assert_close(loss, torch.tensor([[right, wrong], [wrong, right]]))


def test_disagreement_counts_pairs_of_different_members() -> None:
    """Of three pairs two differ on every input; the base is the first member, so its own divergence is nought."""
    same, other = [[3.0, 0.0], [0.0, 3.0]], [[0.0, 1.0], [1.0, 0.0]]

    class Base(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 3 * x.flatten(1)

    base: NetworkModel = wrap(Base().eval(), bounds=BOX, example=X)
    found = disagreement(_model(_Linear(same, same, other), X), base, X)
    assert found["disagreement"] == pytest.approx(2 / 3)
    assert found["differs_from_base"] == 0.0
    p, q = (float(torch.tensor(margin).sigmoid()) for margin in (2.1, -0.7))
    turned = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert found["divergence"] == pytest.approx(turned / 3, rel=1e-5)
    alone = disagreement(_model(_Linear(same), X), base, X)
    assert alone == {"disagreement": 0.0, "differs_from_base": 0.0, "divergence": pytest.approx(0.0, abs=1e-7)}


def _votes(*answers: list[int]) -> Tensor:
    return torch.stack([5 * nn.functional.one_hot(torch.tensor(row), 3).float() for row in answers])


def test_prefixes_and_absences_by_hand() -> None:
    """Five members under a vote: counts of 1, 2, 4 and 5, and the two members without which a point is lost."""
    logits = _votes([0, 0, 1, 1], [1, 0, 0, 1], [0, 0, 0, 1], [1, 0, 1, 1], [0, 2, 2, 1])
    labels = torch.tensor([0, 0, 0, 0])
    model = _model(_Linear([[1.0, 0.0], [0.0, 1.0]]), X, "vote")
    rows = prefix_accuracy(model, logits, labels)
    assert [row["members"] for row in rows] == [1, 2, 4, 5]
    assert [row["accuracy"] for row in rows] == [0.5, 0.75, 0.75, 0.75]
    assert accuracy_without(model, logits, labels) == [0.75, 0.5, 0.5, 0.75, 0.75]
    random = _model(_Linear([[1.0, 0.0], [0.0, 1.0]]), X, "random_member")
    assert prefix_accuracy(random, logits, labels)[-1]["accuracy"] == pytest.approx((3 + 4 + 2 + 0) / 20)


def test_members_of_a_real_ensemble_are_numbered(members: ensemble.SymmetryEnsemble, held_out: Points) -> None:
    """All members together score what the ensemble scores, one alone what it scores by itself."""
    x, y = held_out.inputs[:60], held_out.labels[:60]
    model = _model(members, x[:4])
    found = member_numbers(model, list(x.split(25)), y)
    assert found["prefixes"][-1]["accuracy"] == pytest.approx(float(model.held(x, y).double().mean()))
    own = [float((members.member(k)(x).argmax(1) == y).double().mean()) for k in range(2)]
    assert found["prefixes"][0]["accuracy"] == pytest.approx(own[0])
    assert found["without"] == pytest.approx([own[1], own[0]])


def test_the_thorough_suite_s_probes_all_run(evaluation: Evaluation) -> None:
    """Every probe of the table has numbers, in the range its check expects, and the gallery lies among the points."""
    fields = {name: getattr(evaluation, name) for name in ("target", "base", "threat", "data")}
    small = Evaluation(
        **fields | {"data": type(evaluation.data)("digits")},
        inputs=evaluation.inputs[:24],
        labels=evaluation.labels[:24],
        suite="thorough",
        seed=1,
        certify=10,
    )
    found = probe(small, seed=3)
    assert found["directional"]["agree"] >= 0.95 * found["directional"]["compared"]
    assert -1 <= found["geometry"]["mean_cosine"] < 1
    assert found["geometry"]["mean_loss_on_own"] > found["geometry"]["mean_loss_on_others"] > 0
    assert 0 <= found["disagreement"]["clean"]["disagreement"] <= 1
    assert len(found["disagreement"]["noise"]) == 3
    assert [row["members"] for row in found["member_count"]["prefixes"]] == [1, 2]
    assert math.isfinite(found["landscape"]["mean_change"])
    assert abs(found["plateau"]["fall_at_end"]) < 1
    assert 0 <= found["normalised"]["left"] <= 24
    assert {item["target"] for item in found["certificates"]} == {"base", "ensemble"}
    assert len(found["certificates"]) == 3 * 3
    assert all(item["index"] < 24 for item in found["gallery"])
