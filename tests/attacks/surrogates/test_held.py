"""Networks an attacker holds: the base, a leaked member, the target in a mode, one of its own, several together.

Seen to fail with: the index left out of a member's digest; the mode left out of the target's; the mean of the first
network alone; a restart that reaches the first surrogate only.
"""

import pytest
import torch
from torch import nn

from attacks.surrogates import (
    FreshMembers,
    Surrogate,
    ensemble_of,
    independent,
    leaked_member,
    one_per_step,
    stolen_base,
    target_itself,
)
from attacks.targets import UINT8, EnsembleModel, NetworkModel, with_mode, wrap
from ensemble import SymmetryEnsemble
from ensemble.errors import InputError
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)


@pytest.fixture
def target(members: SymmetryEnsemble, held_out: Points) -> EnsembleModel:
    """The ensemble as served."""
    model = wrap(members, bounds=BOX, example=held_out.inputs[:4])
    assert isinstance(model, EnsembleModel)
    return model


@pytest.fixture
def base(network: nn.Module, held_out: Points) -> NetworkModel:
    """The stolen base."""
    return wrap(network, bounds=BOX, example=held_out.inputs[:4])


def test_a_leaked_member_is_that_member(
    target: EnsembleModel, members: SymmetryEnsemble, base: NetworkModel, held_out: Points
) -> None:
    """It answers like the member, has a digest of its own, and must exist."""
    leaked = leaked_member(target, "d", 1)
    assert torch.equal(leaked.model.answers(held_out.inputs), target.member_answers(held_out.inputs)[1])
    assert (leaked.name, leaked.model.bounds) == ("member-1", target.bounds)
    assert leaked.digest != leaked_member(target, "d", 0).digest
    for index in (members.size, -1):
        with pytest.raises(InputError, match=r"0\.\.1"):
            leaked_member(target, "d", index)
    with pytest.raises(InputError, match="hands out members"):
        leaked_member(base, "d", 0)


def test_the_target_in_another_mode_has_another_digest(target: EnsembleModel, base: NetworkModel) -> None:
    """As served by probabilities it is the target's own; the base keeps its own too."""
    assert target_itself(target, "d").digest == "d"
    digests = {target_itself(with_mode(target, mode), "d").digest for mode in ("prob", "logit", "vote")}
    assert len(digests) == 3
    assert target_itself(base, "b").digest == stolen_base(base, "b").digest == "b"


def test_several_answer_by_the_mean_of_their_logits(
    target: EnsembleModel, base: NetworkModel, network: nn.Module, held_out: Points
) -> None:
    """Value, gradient and name of two together; each other coding reaches both."""
    own = independent(base, "b", index=2)
    both = ensemble_of([own, leaked_member(target, "d", 0)])
    assert both.name == "independent-2+member-0"
    member = target.network.member(0)  # type: ignore[operator]
    x = held_out.inputs[:6].clone().requires_grad_()
    scores = both.model(x)
    torch.testing.assert_close(scores, (network(x) + member(x)) / 2)
    (found,) = torch.autograd.grad(scores[:, 3].sum(), x)
    (expected,) = torch.autograd.grad(((network(x) + member(x)) / 2)[:, 3].sum(), x)
    torch.testing.assert_close(found, expected)
    assert (both.model.passes.forwards, both.model.passes.backwards) == (6, 6)
    shifted = held_out.inputs[:6] * 0.9 + 0.001
    rounded = both.model.with_coding(UINT8)
    torch.testing.assert_close(rounded(shifted), both.model(UINT8(shifted)), rtol=0, atol=0)
    assert not torch.equal(rounded(shifted), both.model(shifted))


def test_a_pool_within_several_goes_on_taking_turns(
    base: NetworkModel, fresh: FreshMembers, fresh_tensors: dict[str, torch.Tensor], held_out: Points
) -> None:
    """Three calls, three different answers; after a restart the same three."""
    both = ensemble_of([stolen_base(base, "b"), one_per_step(fresh, fresh_tensors, bounds=BOX)])

    def three() -> list[torch.Tensor]:
        return [both.model(held_out.inputs[:2].clone().requires_grad_()).detach() for _ in range(3)]

    first = three()
    both.model.restart()
    again = three()
    assert not torch.equal(first[0], first[1])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_what_cannot_be_joined_is_refused(base: NetworkModel, network: nn.Module, held_out: Points) -> None:
    """Nothing at all, or other bounds."""
    with pytest.raises(InputError, match="at least one"):
        ensemble_of([])
    other = wrap(network, bounds=(0.0, 2.0), example=held_out.inputs[:4])
    with pytest.raises(InputError, match="equal bounds"):
        ensemble_of([Surrogate("a", base, "a"), Surrogate("b", other, "b")])
