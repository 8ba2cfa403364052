"""The logits contract, and that wrapping changes nothing.

Seen to fail with: the training check left out; the tolerance of `looks_like_probabilities` at 10; member logits not
transposed; backward passes not counted; members not asked at the gate; the memory gate left out of it; `check_gradient`
without its backward pass; the shape of an answer not compared.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attacks.targets import (
    EnsembleModel,
    ModelFailure,
    NetworkModel,
    OutOfMemory,
    check_gradient,
    looks_like_probabilities,
    wrap,
)
from ensemble import SymmetryEnsemble, network_digest
from ensemble.errors import InputError, LevelsetError
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)


class Answer(nn.Module):
    """A network that answers whatever it is told to, one row per input."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer
        self.eval()

    def forward(self, inputs: Tensor) -> Any:
        """Return the answer."""
        return self.answer(inputs)


BAD = {
    "probabilities": (lambda x: torch.full((len(x), 4), 0.25), "remove the final softmax"),
    "nan": (lambda x: torch.full((len(x), 4), torch.nan), "expected finite logits"),
    "one class": (lambda x: torch.zeros(len(x), 1), "at least two classes"),
    "a tuple": (lambda x: (torch.zeros(len(x), 4),), "got tuple"),
    "integers": (lambda x: torch.zeros(len(x), 4, dtype=torch.int64), "floating point"),
    "another shape": (lambda x: x @ torch.zeros(5, 5), r"inputs of the shape \[1, 8, 8\]"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_what_is_not_logits_is_refused(case: str, held_out: Points) -> None:
    """Each break of the contract is an InputError with its remedy."""
    answer, message = BAD[case]
    with pytest.raises(InputError, match=message):
        wrap(Answer(answer), bounds=BOX, example=held_out.inputs[:4])


def test_training_mode_is_refused_wherever_it_hides(held_out: Points) -> None:
    """One submodule in training mode is enough; its name is in the message."""
    network = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10)).eval()
    network[1].train()
    with pytest.raises(InputError, match=r"eval mode.*first: 1"):
        wrap(network, bounds=BOX, example=held_out.inputs[:4])


def test_something_that_is_no_module_is_refused(held_out: Points) -> None:
    """A function is not a network."""
    with pytest.raises(InputError, match="got function"):
        wrap(lambda x: x, bounds=BOX, example=held_out.inputs[:4])  # type: ignore[arg-type]


def test_log_probabilities_are_logits() -> None:
    """A log-softmax passes; a softmax does not."""
    logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    assert looks_like_probabilities(logits.softmax(1))
    assert not looks_like_probabilities(logits.log_softmax(1))
    assert not looks_like_probabilities(logits)


def test_wrapping_leaves_the_network_alone(network: nn.Module, held_out: Points) -> None:
    """Same weights, same submodules, same answers, and no hook stays behind."""
    before, names = network_digest(network), [name for name, _ in network.named_modules()]
    model = wrap(network, bounds=BOX, example=held_out.inputs[:4])
    assert type(model) is NetworkModel
    assert torch.equal(model.logits(held_out.inputs), network(held_out.inputs))
    assert network_digest(network) == before
    assert [name for name, _ in network.named_modules()] == names
    assert not network._forward_hooks


def test_passes_are_counted_in_points(network: nn.Module, held_out: Points) -> None:
    """Seven points forward and backward count seven each."""
    model = wrap(network, bounds=BOX, example=held_out.inputs[:4])
    x = held_out.inputs[:7].clone().requires_grad_()
    model(x).sum().backward()
    assert (model.passes.forwards, model.passes.backwards) == (7, 7)


def test_an_ensemble_answers_member_by_member(members: SymmetryEnsemble, held_out: Points) -> None:
    """Member logits come batch first and equal the members run alone."""
    model = wrap(members, bounds=BOX, example=held_out.inputs[:4])
    assert isinstance(model, EnsembleModel)
    logits = model.member_logits(held_out.inputs[:6])
    assert logits.shape == (6, members.size, 10)
    for k in range(members.size):
        torch.testing.assert_close(logits[:, k], members.member(k)(held_out.inputs[:6]), rtol=1e-4, atol=1e-4)
    assert torch.equal(model.member_answers(held_out.inputs[:6]), logits.argmax(2).T)


def test_a_network_that_breaks_inside_the_bounds_is_not_judged(held_out: Points) -> None:
    """Logits that are not finite while judging are an error, never a wrong answer."""
    model = wrap(
        Answer(lambda x: torch.stack([1 / x.sum((1, 2, 3)), x[:, 0, 0, 0]], 1)),
        bounds=BOX,
        example=held_out.inputs[:4],
    )
    with pytest.raises(LevelsetError, match="numerically broken"):
        model.answers(torch.zeros(2, 1, 8, 8))


class Members(Answer):
    """An ensemble that answers good logits, and whatever it is told to member by member."""

    def member_logits(self, inputs: Tensor) -> Any:
        """Return the answer for the members."""
        return self.answer(inputs)

    def forward(self, inputs: Tensor) -> Any:
        """Return logits."""
        return inputs.flatten(1)[:, :4]


BAD_MEMBERS = {
    "probabilities": (lambda x: torch.full((3, len(x), 4), 0.25), r"member 0: .*remove the final softmax"),
    "one member's NaN": (lambda x: torch.ones(3, len(x), 4).index_fill(0, torch.tensor([1]), torch.nan), "member 1: "),
    "batch first": (lambda x: torch.zeros(len(x), 3, 4), r"\['member', 4, 4\], got \[4, 3, 4\]"),
    "no members": (lambda x: torch.zeros(0, len(x), 4), r"got \[0, 4, 4\]"),
    "other classes": (lambda x: torch.zeros(3, len(x), 5), r"got \[3, 4, 5\]"),
    "a list": (lambda x: [torch.zeros(len(x), 4)], "got list"),
}


@pytest.mark.parametrize("case", list(BAD_MEMBERS))
def test_members_keep_the_contract_too(case: str, held_out: Points) -> None:
    """A mean of members can look right while no member does."""
    answer, message = BAD_MEMBERS[case]
    with pytest.raises(InputError, match=message):
        wrap(Members(answer), bounds=BOX, example=held_out.inputs[:4])


def test_memory_that_runs_out_at_the_gate_is_no_wrong_shape(held_out: Points) -> None:
    """The remedy is a smaller block, not other inputs."""

    def too_much(inputs: Tensor) -> Tensor:
        return torch.empty(2**50)[: len(inputs)]

    with pytest.raises(OutOfMemory, match=r"asking network once: .*block=2"):
        wrap(Answer(too_much), bounds=BOX, example=held_out.inputs[:4])


class _NoWayBack(torch.autograd.Function):
    """A step whose backward pass fails."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Fail."""
        raise RuntimeError("no way back")


@pytest.mark.parametrize(
    ("answer", "message"),
    [(lambda x: x.detach().flatten(1)[:, :4], "does not require grad"), (_NoWayBack.apply, "no way back")],
)
def test_an_answer_without_a_gradient_is_refused(answer: Any, message: str, held_out: Points) -> None:
    """Said before any attack, with what to remove; also where the caller has switched gradients off."""
    example = held_out.inputs[:2]
    network = Answer(lambda x: answer(x.flatten(1)[:, :4]))
    with torch.no_grad():
        check_gradient(wrap(Answer(lambda x: x.flatten(1)[:, :4]), bounds=BOX, example=example), example)
        with pytest.raises(InputError, match=rf"differentiated by the inputs, got RuntimeError: .*{message}.*; remove"):
            check_gradient(wrap(network, bounds=BOX, example=example), example)


def test_a_row_lost_midway_is_a_failure(held_out: Points) -> None:
    """One answer too few would silently be another point's."""
    model = wrap(Answer(lambda x: x.flatten(1)[: min(len(x), 5), :4]), bounds=BOX, example=held_out.inputs[:4])
    with pytest.raises(ModelFailure, match=r"shape \[6, 4\] for 6 inputs, got \[5, 4\]; mend"):
        model.answers(held_out.inputs[:6])
