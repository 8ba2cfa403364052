"""The attacker's own members: made by the target's recipe, from a seed and a sample of its own, stored and rebuilt.

Seen to fail with: the seed left out of the digest; the sample left out of it; biases not stored; layers rebuilt in
another order of names; the recipe replaced by the default.
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from attacks.canonical import seed_from
from attacks.data import LabelledData
from attacks.surrogates import FORMS, FreshMembers, check_own_sample, form_digest, mean_of_pool, one_per_step, recipe_of
from ensemble import Recipe, SymmetryEnsemble, generate, tensor_digest
from ensemble.digests import state_digest
from ensemble.errors import InputError
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)


def test_the_same_seed_makes_the_same_bytes(fresh: FreshMembers, fresh_tensors: dict[str, Tensor]) -> None:
    """Made twice it is the same to the last bit; another seed gives other members and another digest."""
    assert state_digest(fresh.prepare()) == state_digest(fresh_tensors)
    other = dataclasses.replace(fresh, seed=6)
    assert other.digest != fresh.digest
    assert state_digest(other.prepare()) != state_digest(fresh_tensors)


def test_members_are_those_that_the_recipe_generates(fresh: FreshMembers, fresh_tensors: dict[str, Tensor]) -> None:
    """Generated directly with the target's recipe and the derived seed, they are the same, layer by layer in order."""
    rng = torch.Generator().manual_seed(seed_from(fresh.digest, "generation"))
    direct = generate(fresh.base, fresh.sample, members=3, recipe=fresh.recipe, rng=rng)
    pool = fresh.from_state(fresh_tensors)
    assert pool.digest == direct.digest
    assert [layer.ref for layer in pool.layers] == [layer.ref for layer in direct.layers]


def test_the_digest_names_all_that_members_are_made_from(fresh: FreshMembers, network: nn.Module) -> None:
    """Base, recipe, sample, seed and count: each changes it; nothing has to be made to know it."""
    changes = (
        {"base_digest": "0" * 64},
        {"recipe": Recipe(search_steps=6, crafting_radii=())},
        {"sample": fresh.sample[1:]},
        {"seed": 6},
        {"count": 2},
    )
    digests = {dataclasses.replace(fresh, **change).digest for change in changes}
    assert len(digests | {fresh.digest}) == 6
    forms = {form_digest(form, fresh) for form in FORMS}
    assert len(forms) == 2


def test_what_was_stored_is_what_was_made(
    fresh: FreshMembers, fresh_tensors: dict[str, Tensor], held_out: Points, tmp_path: Path
) -> None:
    """Through a safetensors file and back, the members answer to the last bit alike; the base is untouched."""
    before = state_digest(fresh.base.state_dict())
    save_file(fresh_tensors, tmp_path / "fresh.safetensors")
    made = fresh.from_state(fresh_tensors)
    read = fresh.from_state(load_file(tmp_path / "fresh.safetensors"))
    assert made.size == read.size == 3
    assert torch.equal(made.member_logits(held_out.inputs), read.member_logits(held_out.inputs))
    assert state_digest(fresh.base.state_dict()) == before
    assert all(layer.bias is not None for layer in made.layers)


def test_fresh_members_are_the_base_almost_and_the_target_s_not_at_all(
    fresh: FreshMembers, fresh_tensors: dict[str, Tensor], members: SymmetryEnsemble, held_out: Points
) -> None:
    """They answer like the base on most points, with weights that no member of the target has."""
    pool = fresh.from_state(fresh_tensors)
    base = fresh.base(held_out.inputs).argmax(1)
    agreement = (pool.member_logits(held_out.inputs).argmax(2) == base).float().mean(1)
    assert float(agreement.min()) > 0.7
    for ours, theirs in zip(pool.layers, members.layers, strict=True):
        for k in range(pool.size):
            assert all(not torch.equal(ours.weight[k], theirs.weight[j]) for j in range(members.size))


def test_both_forms_craft_on_the_same_members(
    fresh: FreshMembers, fresh_tensors: dict[str, Tensor], held_out: Points
) -> None:
    """One per step gives the gradient of one member, the mean of the pool that of the mean of logits."""
    pool = fresh.from_state(fresh_tensors)
    step, mean = (form(fresh, fresh_tensors, bounds=BOX) for form in (one_per_step, mean_of_pool))
    assert (step.digest, mean.digest) == (form_digest("one_per_step", fresh), form_digest("mean_of_pool", fresh))
    x = held_out.inputs[:5].clone().requires_grad_()
    turn = step.model.turn
    torch.testing.assert_close(step.model(x), pool.member_logits(x)[turn], rtol=0, atol=0)
    torch.testing.assert_close(mean.model(x), pool.member_logits(x).mean(0), rtol=0, atol=0)
    assert (step.model.classes, mean.model.classes) == (10, 10)


def test_the_recipe_is_the_target_s(members: SymmetryEnsemble, network: nn.Module) -> None:
    """A generated target publishes its recipe; without a record there is an error that says what to do."""
    assert recipe_of(members) == Recipe(search_steps=5, crafting_radii=())
    with pytest.raises(InputError, match="name the recipe"):
        recipe_of(network)


def test_a_sample_that_shares_points_is_refused(sample: LabelledData, held_out: Points, digits: Points) -> None:
    """With the evaluated points, with calibration points one by one, or with the whole calibration set."""
    evaluated = [tensor_digest(point) for point in held_out.inputs]
    calibration = digits.inputs[1000:1400]
    used = [tensor_digest(point) for point in calibration]
    check_own_sample(sample.inputs, evaluated=evaluated, used=[*used, tensor_digest(calibration)])
    mixed = torch.cat([sample.inputs, held_out.inputs[:2]])
    with pytest.raises(InputError, match=rf"the evaluated points, got 2 of {len(mixed)}"):
        check_own_sample(mixed, evaluated=evaluated)
    with pytest.raises(InputError, match="calibration or training points, got 3"):
        check_own_sample(calibration[:3], used=used)
    with pytest.raises(InputError, match="calibration or training points, got 1"):
        check_own_sample(calibration, used=[tensor_digest(calibration)])


@pytest.mark.parametrize("count", [0, -1, 1.5, True])
def test_no_members_cannot_be_asked_for(fresh: FreshMembers, count: int) -> None:
    """At least one."""
    with pytest.raises(InputError, match=">= 1"):
        dataclasses.replace(fresh, count=count)
