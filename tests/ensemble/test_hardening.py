"""Hardening: what it buys against attacks, what it may cost, and that it is repeatable, resumable and label-free.

Seen to fail when: the attacked inputs are left out of the loss or the steps go uphill (accuracy); the inner attack
descends; `max_clean_drop` is compared the wrong way; weights, generator, step, second moment or running mean are not
restored (resume); the twin's biases are dropped on the way back; the caller's network is trained in place; members are
run on the base in place of the trunk; the trunk's weights are left out of the digest; the divergence is taken the other
way round; the trunk is no member, the first one, always one, or has the base's layers; one look more than patience, or
any number; the last look's weights are kept, or the first one's; mirrored inputs keep the targets of their originals,
the others get those of their mirror images, or they are mirrored up and down; the rate stays at its peak, peaks early,
or does not end at zero.
"""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import ensemble
from ensemble import Hardening, Recipe, SymmetryEnsemble, harden, network_digest
from ensemble.artifact import read_manifest
from ensemble.controls import noise_ensemble
from ensemble.errors import ArtifactError, CalibrationError, InputError, RecipeError
from ensemble.hardening.data import log_probabilities, split
from ensemble.hardening.objective import Objective, divergence
from ensemble.hardening.schedule import one_cycle
from ensemble.hardening.twin import folded_twin
from ensemble.progress import Progress
from tests.ensemble.cases import ResidualNet, generator, images, mlp, plain_cnn, randomised

QUICK = Hardening(steps=9, check_every=3, batch=16, radius=0.3, rate=0.02)
DIGITS = Hardening(steps=120, check_every=40, batch=32, radius=0.08, rate=0.02, flips=False)


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A small CNN trained on digits, unlabelled inputs, held-out inputs and labels."""
    data = load_digits()
    x, y = torch.from_numpy(data.images).float().unsqueeze(1) / 16, torch.from_numpy(data.target)
    network = randomised(
        nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 10),
        )
    ).train()  # fmt: skip
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    rng = generator()
    for _ in range(200):
        rows = torch.randint(700, (64,), generator=rng)
        optimiser.zero_grad()
        F.cross_entropy(network(x[rows]), y[rows]).backward()
        optimiser.step()
    return network.eval().requires_grad_(False), x[700:1400], x[1400:], y[1400:]


@pytest.fixture(scope="module")
def refined(digits: tuple[nn.Module, Tensor, Tensor, Tensor]) -> ensemble.hardening.Hardened:
    """The same network, hardened."""
    return harden(digits[0], digits[1], settings=DIGITS, rng=generator())


def _pgd_accuracy(crafted_on: nn.Module, judged: nn.Module, x: Tensor, y: Tensor, radius: float) -> float:
    start = x + (torch.rand(x.shape, generator=generator()) * 2 - 1) * radius
    moved = start.clamp(0, 1)
    for _ in range(10):
        moved.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(crafted_on(moved), y), moved)
        moved = (moved.detach() + radius / 4 * gradient.sign()).clamp(x - radius, x + radius).clamp(0, 1)
    return _accuracy(judged, moved, y)


def _accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((network(x).argmax(1) == y).double().mean())


def test_attacked_accuracy_rises_for_a_little_clean_accuracy(
    digits: tuple[nn.Module, Tensor, Tensor, Tensor], refined: ensemble.hardening.Hardened
) -> None:
    """Attacks crafted on the base and on the refined network itself both leave far more than they leave of the base."""
    base, _, x, y = digits
    before = _pgd_accuracy(base, base, x, y, 0.12)
    assert _pgd_accuracy(base, refined.network, x, y, 0.12) > before + 0.2
    assert _pgd_accuracy(refined.network, refined.network, x, y, 0.12) > before + 0.12
    assert _accuracy(refined.network, x, y) > _accuracy(base, x, y) - 0.05


def test_the_held_out_part_is_reported_and_its_loss_falls(refined: ensemble.hardening.Hardened) -> None:
    """A tenth of the inputs is held out; the attacked divergence on it falls; the kept look has the lowest loss."""
    report = refined.report
    assert (report.inputs, report.held_out, report.steps, report.share) == (630, 70, 120, 1.0)
    assert [check.step for check in report.checks] == [0, 40, 80, 120]
    assert report.checks[0].divergence == pytest.approx(0, abs=1e-5)
    assert report.checks[-1].adversarial_divergence < 0.7 * report.checks[0].adversarial_divergence
    losses = {check.step: check.loss(DIGITS) for check in report.checks}
    assert report.kept_step == min(losses, key=losses.__getitem__)


def test_the_clean_drop_is_kept_within_its_bound(digits: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    """A bound below the end's drop draws the weights back, a loose one leaves them, an impossible one fails."""
    base, inputs, _, _ = digits
    hard = replace(DIGITS, steps=60, check_every=60, radius=0.4, rate=0.05, held_out=0.5)
    free = harden(base, inputs, settings=hard, rng=generator())
    assert free.report.clean_drop > 0.1
    bound = free.report.clean_drop / 2
    kept = harden(base, inputs, settings=replace(hard, max_clean_drop=bound), rng=generator())
    assert kept.report.clean_drop <= bound
    assert 0 < kept.report.share < 1
    loose = harden(base, inputs, settings=replace(hard, max_clean_drop=0.99), rng=generator())
    assert loose.report.share == 1
    assert network_digest(loose.network) == network_digest(free.network)
    network, other = (randomised(ResidualNet()) for _ in range(2))
    with torch.no_grad():
        other.head.bias.add_(torch.tensor([0.0, 0.0, 0.0, 100.0, 0.0]))  # type: ignore[operator, union-attr]
        network.head.bias.add_(torch.tensor([0.0, 0.0, 100.0, 0.0, 0.0]))  # type: ignore[operator, union-attr]
    impossible = replace(QUICK, max_clean_drop=0.01)
    with pytest.raises(CalibrationError, match="max_clean_drop"):
        harden(network, images(40), target=other, settings=impossible, rng=generator())


class _Stopped(Exception):
    """Stands for a process that is killed."""


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_resumed_hardening_arrives_at_the_same_bytes(tmp_path: Path, average: float) -> None:
    """Killed after a look and started again, weights and record equal those of one sitting; a finished one is read."""
    network, inputs = randomised(ResidualNet()), images(40)
    settings = replace(QUICK, average=average)

    def kill(step: Progress) -> None:
        if step.done == 6:
            raise _Stopped

    whole = harden(network, inputs, settings=settings, rng=generator())
    with pytest.raises(_Stopped):
        harden(network, inputs, settings=settings, rng=generator(), progress=kill, checkpoints=tmp_path)
    again = harden(network, inputs, settings=settings, rng=generator(), checkpoints=tmp_path)
    assert network_digest(again.network) == network_digest(whole.network)
    assert again.report == whole.report
    seen: list[Progress] = []
    read = harden(network, inputs, settings=settings, rng=generator(), checkpoints=tmp_path, progress=seen.append)
    assert network_digest(read.network) == network_digest(whole.network)
    assert not seen
    other = harden(network, inputs, settings=settings, rng=generator(1), checkpoints=tmp_path)
    assert network_digest(other.network) != network_digest(whole.network)
    (first, _) = sorted(tmp_path.iterdir())
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="expected the state of a hardening"):
        harden(network, inputs, settings=settings, rng=generator(), checkpoints=tmp_path)
    assert first.suffix == ".safetensors"


@pytest.mark.parametrize("build", [ResidualNet, plain_cnn, mlp])
def test_the_twin_computes_the_same_and_comes_back(build: Any) -> None:
    """Folding changes no output; what is trained is written back into the network's own class, which is untouched."""
    network = randomised(build()).eval()
    x = images(5) if build is not mlp else torch.rand(5, 6, generator=generator())
    before = network_digest(network)
    twin = folded_twin(network, x)
    torch.testing.assert_close(twin.network(x), network(x), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.network.modules())
    with torch.no_grad():
        for value in twin.parameters.values():
            value.add_(0.1)
    torch.testing.assert_close(twin.standalone()(x), twin.network(x), rtol=1e-4, atol=1e-5)
    assert (twin.standalone()(x) - network(x)).abs().max() > 1e-3
    assert type(twin.standalone()) is type(network)
    assert network_digest(network) == before


def test_the_divergence_and_its_gradient_have_their_closed_form() -> None:
    """For logits W x the gradient of KL(p || softmax(W x)) by W is (q - p) x', and p = q gives zero."""
    rng = generator()
    weight = torch.randn(4, 6, generator=rng, dtype=torch.float32, requires_grad=True)
    x, p = torch.rand(5, 6, generator=rng), torch.rand(5, 4, generator=rng).softmax(1)
    value = divergence(p.log(), x @ weight.T)
    q = (x @ weight.T).softmax(1)
    torch.testing.assert_close(value, (p * (p.log() - q.log())).sum(1))
    (gradient,) = torch.autograd.grad(value.sum(), weight)
    torch.testing.assert_close(gradient, (q - p).detach().T @ x)
    torch.testing.assert_close(divergence(q.log(), x @ weight.T), torch.zeros(5), rtol=0, atol=1e-6)


def test_the_inner_attack_raises_the_divergence_inside_its_ball() -> None:
    """Attacked copies stay within radius and bounds, and diverge more than their random start."""
    network, x = randomised(plain_cnn()).eval(), images(20)
    target = network(x).log_softmax(1).detach()
    noise = (torch.rand(x.shape, generator=generator()) * 2 - 1) * 0.1
    moved = Objective(replace(QUICK, radius=0.1), (0.0, 1.0), network).attacked(network, x, target, noise)
    assert float((moved - x).abs().max()) <= 0.1 + 1e-6
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1
    with torch.no_grad():
        started = divergence(target, network((x + noise).clamp(0, 1))).sum()
        assert float(divergence(target, network(moved)).sum()) > 2 * float(started)


def test_transfer_attacks_are_made_on_the_target_within_each_inputs_own_radius(
    digits: tuple[nn.Module, Tensor, Tensor, Tensor],
) -> None:
    """Copies leave the target's labels, stay within their own radius, and their weight makes them harmless."""
    base, calibration, x, y = digits
    thief = replace(DIGITS, adversarial_weight=0.0, transfer_weight=2.0, transfer_radius=0.2)
    target, unit = base(x).log_softmax(1), torch.linspace(0, 1, len(x))
    moved = Objective(thief, (0.0, 1.0), base).transferred(x, target, unit)
    distance = (moved - x).abs().flatten(1).amax(1)
    torch.testing.assert_close(distance, 0.2 * unit, rtol=0, atol=1e-6)
    far = unit > 0.8
    assert _accuracy(base, moved[far], y[far]) < 0.2 < 0.8 < _accuracy(base, x[far], y[far])
    refined = harden(base, calibration, settings=thief, rng=generator())
    assert refined.report.checks[-1].transfer_divergence < 0.7 * refined.report.checks[0].transfer_divergence
    without = harden(base, calibration, settings=replace(thief, transfer_weight=0.0), rng=generator())
    gain = [_pgd_accuracy(base, each.network, x, y, 0.12) for each in (refined, without)]
    assert gain[0] > gain[1] + 0.2


def test_the_rate_rises_to_its_peak_and_falls_to_zero() -> None:
    """1/25 at the first step, 1 after three tenths, nothing at the end."""
    rates = [one_cycle(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.04)
    assert rates.index(max(rates)) == 30
    assert max(rates) == pytest.approx(1)
    assert rates[100] == pytest.approx(0)


def test_it_stops_when_the_held_out_loss_no_longer_falls() -> None:
    """A rate that destroys the network is noticed; the weights of the best look, here the start, are kept."""
    network = randomised(plain_cnn()).eval()
    wild = Hardening(steps=40, check_every=1, batch=8, rate=5.0, patience=2, radius=1e-4, flips=False)
    kept = harden(network, images(40), settings=wild, rng=generator())
    assert kept.report.stopped_early
    assert (kept.report.kept_step, kept.report.steps) == (0, 2)
    torch.testing.assert_close(kept.network(images(5)), network(images(5)), rtol=1e-4, atol=1e-5)


def test_half_of_a_batch_is_mirrored_and_has_the_targets_of_its_mirror_images() -> None:
    """Each row's target is the network's answer on that very row; nothing is mirrored where it was not asked for."""
    network, inputs = randomised(plain_cnn()).eval(), images(40)
    train, held_out = split(network, inputs, QUICK, generator())
    x, target = train.batch(200, generator(1))
    torch.testing.assert_close(target, log_probabilities(network, x))
    own = {row.numpy().tobytes() for row in inputs}
    mirrored = sum(row.contiguous().numpy().tobytes() not in own for row in x)
    assert 60 < mirrored < 140  # of 200 fair coins, six standard deviations either way
    plain, _ = split(network, inputs, replace(QUICK, flips=False), generator())
    assert held_out.mirrored is plain.mirrored is None


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"steps": 0}, "recipe.hardening.steps: expected an integer >= 1, got 0"),
        ({"radius": 0}, "radius"),
        ({"average": 1.0}, "average"),
        ({"held_out": 1}, "held_out"),
        ({"max_clean_drop": 0}, "max_clean_drop"),
        ({"flips": 1}, "flips: expected true or false"),
        ({"step": 3}, r"got \['step'\]"),
    ],
)
def test_bad_settings_are_refused(values: dict[str, Any], match: str) -> None:
    """A typo or a value outside its range raises with the field, the range and the value."""
    with pytest.raises(RecipeError, match=match):
        Recipe.from_dict({"hardening": values})


def test_too_few_inputs_are_refused() -> None:
    """Nothing can be held out of four inputs."""
    with pytest.raises(InputError, match="add unlabelled inputs"):
        harden(randomised(plain_cnn()).eval(), images(4), rng=generator())


@pytest.fixture(scope="module")
def hardened_ensemble() -> tuple[nn.Module, SymmetryEnsemble]:
    """A base, and an ensemble of two members of its refined copy and that copy itself."""
    network = randomised(ResidualNet()).eval()
    recipe = Recipe(search_steps=5, hardening=QUICK)
    return network, ensemble.generate(network, images(64), members=3, recipe=recipe, rng=generator())


def test_members_share_a_trunk_beside_the_untouched_base(hardened_ensemble: tuple[nn.Module, SymmetryEnsemble]) -> None:
    """Base and trunk answer differently; the last member is the trunk; every member runs on the trunk's layers."""
    network, many = hardened_ensemble
    x = images(9)
    torch.testing.assert_close(many.base(x), network(x), rtol=0, atol=0)
    assert network_digest(many.base) == network_digest(network)
    assert (many.trunk(x) - many.base(x)).abs().max() > 1e-3
    logits = many.member_logits(x)
    torch.testing.assert_close(logits[-1], many.trunk(x), rtol=1e-4, atol=1e-5)
    for index in range(many.size):
        torch.testing.assert_close(many.member(index)(x), logits[index], rtol=1e-4, atol=1e-5)
        assert torch.equal(many.member_state(index)["stem.weight"], many.trunk.state_dict()["stem.weight"])
    assert (logits[0] - logits[1]).abs().max() > 1e-3
    assert len(many.generation.sites) == 2  # type: ignore[union-attr]
    assert len(many.generation.agreement) == 3  # type: ignore[union-attr]
    assert many.generation.hardening.trunk_digest == network_digest(many.trunk)  # type: ignore[union-attr]
    moved = copy.deepcopy(many.trunk)
    moved.head.weight.add_(1.0)  # type: ignore[operator, union-attr]
    other = SymmetryEnsemble(many.base, many.input_shape, many.layers, trunk=moved)
    assert other.digest != many.digest
    noisy = noise_ensemble(many, rng=generator())
    assert network_digest(noisy.trunk) == network_digest(many.trunk)


def test_the_trunk_survives_an_artifact(hardened_ensemble: tuple[nn.Module, SymmetryEnsemble], tmp_path: Path) -> None:
    """Base, trunk, members and record come back; an ensemble without a trunk is still written as before."""
    network, many = hardened_ensemble
    many.save(tmp_path / "many")
    again = ensemble.load(tmp_path / "many", build=ResidualNet)
    assert (again.digest, again.generation) == (many.digest, many.generation)
    assert torch.equal(again.member_logits(images(4)), many.member_logits(images(4)))
    assert torch.equal(again.base(images(4)), network(images(4)))
    plain = SymmetryEnsemble(many.base, many.input_shape, many.layers)
    assert plain.digest != many.digest
    plain.save(tmp_path / "plain")
    versions = [read_manifest(tmp_path / name)["schema_version"] for name in ("plain", "many")]
    assert versions == [1, 2]
    (tmp_path / "many" / "trunk.safetensors").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"trunk\.safetensors is damaged"):
        ensemble.load(tmp_path / "many", build=ResidualNet)


def test_the_trunk_may_be_the_only_member_or_none() -> None:
    """One hardened member is the trunk alone; without `trunk_is_member` every member is built from it."""
    network, inputs = randomised(ResidualNet()).eval(), images(64)
    recipe = Recipe(search_steps=2, hardening=QUICK)
    alone = ensemble.generate(network, inputs, members=1, recipe=recipe, rng=generator())
    assert alone.size == 1
    torch.testing.assert_close(alone.member_logits(inputs)[0], alone.trunk(inputs), rtol=1e-4, atol=1e-5)
    built = replace(recipe, hardening=replace(QUICK, trunk_is_member=False))
    many = ensemble.generate(network, inputs, members=2, recipe=built, rng=generator())
    assert len(many.generation.sites) == many.size == 2  # type: ignore[union-attr]
    spare = replace(recipe, spare_members=1)
    kept = ensemble.generate(network, inputs, members=3, recipe=spare, rng=generator())
    assert (kept.size, len(kept.generation.sites)) == (3, 2)  # type: ignore[union-attr]


def test_a_seed_fixes_the_bytes_and_the_base_stays_as_it_was() -> None:
    """Two runs agree to the last bit, another seed does not, and the caller's network is never written to."""
    network, inputs = randomised(ResidualNet()).eval(), images(64)
    before = copy.deepcopy(network.state_dict())
    recipe = Recipe(search_steps=2, hardening=QUICK)
    first, second, other = (
        ensemble.generate(network, inputs, members=2, recipe=recipe, rng=generator(seed)) for seed in (0, 0, 1)
    )
    assert first.digest == second.digest
    assert first.generation == second.generation
    assert first.digest != other.digest
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_member_can_be_refined_towards_the_base() -> None:
    """From a member, with the base's predictions as the aim, the divergence from the base falls."""
    network, inputs = randomised(plain_cnn()).eval(), images(64)
    member = ensemble.generate(
        network, inputs, members=1, recipe=Recipe(search_steps=0, crafting_radii=()), rng=generator()
    ).member(0)
    settings = Hardening(steps=60, check_every=20, batch=32, rate=0.005, adversarial_weight=0.0, flips=False)
    report = harden(member, images(600), target=network, settings=settings, rng=generator()).report
    assert report.checks[0].divergence > 1e-4
    assert report.checks[-1].divergence < report.checks[0].divergence
