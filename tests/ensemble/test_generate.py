"""Generation end to end on small networks.

Seen to fail: targets taken from the member instead of the base; the base's shortcut subtracted instead of the member's;
the crafted copies' targets out of order.
"""

import copy
from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.testing import assert_close

import ensemble
from ensemble.crafting import craft
from ensemble.errors import CalibrationError, InputError
from ensemble.graph import trace
from ensemble.groups import GeneralLinear, identity
from ensemble.layers import fold
from ensemble.problem import MapProblem
from ensemble.selection import gradient_similarity
from ensemble.sites import sites_of
from ensemble.stream import Stream
from tests.ensemble.cases import ResidualNet, generator, images, mlp, plain_cnn, randomised

FAST = ensemble.Recipe(search_steps=10, crafting_radii=(0.05,), crafting_steps=2)


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A small CNN trained on digits for a second, unlabelled calibration inputs, held-out inputs and labels."""
    data = load_digits()
    x = torch.from_numpy(data.images).float().unsqueeze(1) / 16
    y = torch.from_numpy(data.target)
    network = randomised(
        nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 24), nn.ReLU(), nn.Linear(24, 10),
        )
    ).train()  # fmt: skip
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    rng = generator()
    for _ in range(300):
        rows = torch.randint(1000, (64,), generator=rng)
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
        optimiser.step()
    return network.eval(), x[1000:1400], x[1400:], y[1400:]


def test_members_agree_on_data_and_differ_in_their_gradients(digits: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    """Held-out accuracy stays, while input gradients turn away from the base's."""
    network, calibration, x, y = digits
    many = ensemble.generate(network, calibration, members=3, recipe=ensemble.Recipe(search_steps=30), rng=generator())
    with torch.no_grad():
        base = (network(x).argmax(1) == y).float().mean()
        own = (many(x).argmax(1) == y).float().mean()
    assert base > 0.9
    assert own > base - 0.05
    assert many.generation is not None
    assert min(many.generation.agreement) > 0.9
    gradients = []
    for model in (network, many.member(0), many.member(1)):
        probe = x[:100].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(probe), y[:100]), probe)
        gradients.append(gradient.flatten(1))
    to_base = nn.functional.cosine_similarity(gradients[0], gradients[1]).mean()
    to_each_other = nn.functional.cosine_similarity(gradients[1], gradients[2]).mean()
    assert to_base < 0.95
    assert to_each_other < 0.95


@pytest.mark.parametrize("build", [plain_cnn, ResidualNet])
def test_without_a_group_element_members_equal_the_base(build: object) -> None:
    """At scale 0, no search and clean inputs only, the refit gives the base back."""
    network = randomised(build(), dtype=torch.float64)  # type: ignore[operator]
    x = images(120, dtype=torch.float64)
    recipe = ensemble.Recipe(scale=0.0, search_steps=0, crafting_radii=(), ridge=1e-12)
    many = ensemble.generate(network, x, members=1, recipe=recipe, rng=generator())
    held_out = images(20, seed=9, dtype=torch.float64)
    assert_close(many.member_logits(held_out)[0], network(held_out).detach(), rtol=1e-4, atol=1e-4)


def test_drift_feedback_repairs_an_earlier_block() -> None:
    """After an earlier block is damaged, a refit on the member's own stream brings the output back towards the base's.

    Without feedback (a refit on the base's stream) the upper layer at g = 1 would stay the base's own.
    """
    network, x = randomised(ResidualNet(), dtype=torch.float64), images(400, dtype=torch.float64)
    traced = trace(network, x)
    first, second = sites_of(traced)
    broken = fold(network, first.lower)
    broken = replace(broken, weight=broken.weight + 0.3 * torch.randn(broken.weight.shape, generator=generator()))
    member = Stream(traced, x)
    member.replace({first.lower: broken})
    wanted = Stream(traced, x).read(str(second.addition))
    z, shortcut = (member.read(name) for name in (second.preactivation, str(second.shortcut)))
    own = fold(network, second.upper)
    problem = MapProblem(z, wanted - shortcut, torch.relu, own, 1, True)
    refitted, _ = problem.refit(identity(GeneralLinear(), second.hidden), ridge=1e-6, rows=torch.arange(len(x)))
    errors = {}
    for name, upper in (("feedback", refitted), ("none", own)):
        member.replace({second.upper: upper})
        logits = member.read(traced.output.name)
        errors[name] = float((logits - network(x).detach()).norm())
    assert 0 < errors["feedback"] < 0.6 * errors["none"]


@pytest.mark.parametrize("build", [plain_cnn, ResidualNet])
def test_reported_residual_is_the_distance_from_the_bases_clean_outputs(build: object) -> None:
    """The last site's residual is what the finished member is off, shortcut and pairing included."""
    network, x = randomised(build(), dtype=torch.float64), images(150, dtype=torch.float64)  # type: ignore[operator]
    recipe = ensemble.Recipe(scale=0.7, search_steps=0, crafting_radii=(0.05,), crafting_steps=2)
    many = ensemble.generate(network, x, members=1, recipe=recipe, rng=generator(3))
    copies = craft(network, x, radius=0.05, steps=2, bounds=(0.0, 1.0), rng=generator(3))
    traced = trace(network, x)
    site = sites_of(traced)[-1]
    names = [site.upper_output] if site.addition is None else [site.addition, str(site.shortcut)]
    wanted = Stream(traced, x).read(names[0]).repeat(2, *[1] * (len(traced.shapes[names[0]]) - 1))
    stream = Stream(traced, torch.cat([x, copies]))
    stream.replace(many.member_layers(0))
    found = [stream.read(name) for name in names]
    target = wanted if site.addition is None else wanted - found[1]
    assert many.generation is not None
    expected = float((found[0] - wanted).norm() / target.norm())
    assert many.generation.sites[0][-1].residual == pytest.approx(expected, rel=1e-6)


def test_same_seed_same_bytes_and_members_do_not_depend_on_their_number() -> None:
    """Generation is a function of its seed, and member 0 of two is member 0 of one."""
    network, x = randomised(plain_cnn()), images(200)
    two = ensemble.generate(network, x, members=2, recipe=FAST, rng=generator(5))
    again = ensemble.generate(network, x, members=2, recipe=FAST, rng=generator(5))
    other = ensemble.generate(network, x, members=2, recipe=FAST, rng=generator(6))
    one = ensemble.generate(network, x, members=1, recipe=FAST, rng=generator(5))
    assert two.digest == again.digest != other.digest
    assert_close(one.member_logits(x[:4])[0], two.member_logits(x[:4])[0], rtol=0, atol=0)


def test_the_base_is_never_touched() -> None:
    """Generation leaves the caller's network, its mode, its gradients and its in-place modules as they were."""
    network, x = randomised(plain_cnn()), images(200)
    before = copy.deepcopy(network.state_dict())
    many = ensemble.generate(network, x, members=1, recipe=FAST, rng=generator())
    many.double()
    assert all(bool((before[name] == value).all()) for name, value in network.state_dict().items())
    assert network[0].weight.dtype == torch.float32
    assert network[0].weight.requires_grad
    assert network[2].inplace


def test_progress_and_record_cover_every_site() -> None:
    """Progress ends at its total, and the record names each site of each member with sound numbers."""
    steps: list[ensemble.Progress] = []
    network, x = randomised(mlp()), torch.rand(100, 6, generator=generator())
    many = ensemble.generate(network, x, members=2, recipe=FAST, rng=generator(), progress=steps.append)
    assert [step.done for step in steps] == list(range(1, 6))
    assert {step.total for step in steps} == {5}
    assert many.generation is not None
    reports = many.generation.sites[1]
    assert [report.site for report in reports] == ["0 -> 2", "2 -> 4"]
    assert all(0 <= report.residual < 1 and report.rows == 200 for report in reports)
    assert ensemble.Generation.from_dict(many.generation.to_dict()) == many.generation


@pytest.mark.parametrize(
    ("calibration", "members", "match"),
    [
        (torch.rand(100, 6), 0, "members: expected an integer >= 1"),
        (torch.rand(100, 6), True, "members"),
        (torch.zeros(0, 6), 2, "at least 2 inputs"),
        (torch.full((100, 6), 0.5), 2, "one input repeated"),
        (torch.rand(100, 6) * 2, 2, r"values in \[0\.0, 1\.0\]"),
        (torch.full((100, 6), float("nan")), 2, "finite"),
        (torch.ones(100, 6, dtype=torch.int64), 2, "floating"),
        (torch.rand(100, 6, dtype=torch.float64), 2, "float32"),
    ],
)
def test_bad_calibration_is_refused(calibration: Tensor, members: int, match: str) -> None:
    """Each malformed argument raises with what was expected and what came."""
    with pytest.raises(InputError, match=match):
        ensemble.generate(randomised(mlp()), calibration, members=members, rng=generator())


def test_too_few_calibration_inputs_for_the_rank() -> None:
    """Fewer rows than the refit's regressors is an error that says how many are needed."""
    recipe = ensemble.Recipe(crafting_radii=())
    with pytest.raises(CalibrationError, match="at least 10 rows, got 4"):
        ensemble.generate(randomised(mlp()), torch.rand(4, 6), recipe=recipe, rng=generator())


def test_spare_members_are_generated_and_the_most_diverse_kept(
    digits: tuple[nn.Module, Tensor, Tensor, Tensor],
) -> None:
    """Six candidates become three whose mean gradient cosine is no higher than that of the first three."""
    network, calibration, *_ = digits
    plain = ensemble.Recipe(search_steps=5)
    first = ensemble.generate(network, calibration, members=3, recipe=plain, rng=generator())
    kept = ensemble.generate(network, calibration, members=3, recipe=replace(plain, spare_members=3), rng=generator())
    assert kept.size == 3
    assert kept.generation is not None
    assert kept.generation.candidates == 6
    similarity = [gradient_similarity(many, calibration[:128]) for many in (first, kept)]
    off_diagonal = [float(matrix.sum() - matrix.trace()) / 6 for matrix in similarity]
    assert off_diagonal[1] <= off_diagonal[0]


def test_scale_is_lowered_until_the_clean_drop_holds(digits: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    """The kept scale is the first within the bound, and the trials are on record."""
    network, calibration, *_ = digits
    recipe = ensemble.Recipe(scale=4.0, search_steps=0, max_clean_drop=0.05, max_blow_up=1e9, max_residual=5.0)
    many = ensemble.generate(network, calibration, members=1, recipe=recipe, rng=generator())
    assert many.generation is not None
    trials = many.generation.scale_trials
    assert len(trials) > 1
    assert all(trial.clean_drop > 0.05 for trial in trials[:-1])
    assert trials[-1].clean_drop <= 0.05
    assert many.generation.recipe.scale == trials[-1].scale < 4.0
    impossible = replace(recipe, ridge=1e6, max_clean_drop=1e-6, max_residual=1e9)
    with pytest.raises(CalibrationError, match="max_clean_drop"):
        ensemble.generate(network, calibration, members=1, recipe=impossible, rng=generator())


def test_a_member_that_fails_a_gate_is_drawn_again_and_the_record_says_so() -> None:
    """With a residual bound between two draws' residuals the first is drawn again; with one below all, it raises."""
    network, x = randomised(plain_cnn()), images(200)
    free = replace(FAST, search_steps=0, scale=1.5)
    draws = [ensemble.generate(network, x, members=1, recipe=free, rng=generator(seed)).generation for seed in range(6)]
    worst = [max(report.residual for report in draw.sites[0]) for draw in draws if draw is not None]
    seed = worst.index(max(worst))
    bounded = replace(free, max_residual=sorted(worst)[2], redraws=30)
    record = ensemble.generate(network, x, members=1, recipe=bounded, rng=generator(seed)).generation
    assert record is not None
    assert record.redraws
    assert "residual" in record.redraws[0].reason
    assert max(report.residual for report in record.sites[0]) <= bounded.max_residual
    with pytest.raises(CalibrationError, match=r"failed its gates in 2 draws"):
        ensemble.generate(network, x, recipe=replace(free, max_residual=1e-9, redraws=1), rng=generator())
    with pytest.raises(CalibrationError, match="blow-up"):
        ensemble.generate(network, x, recipe=replace(free, max_blow_up=1.01, redraws=0), rng=generator())


def test_as_published_interpolates_the_last_hidden_layer(digits: tuple[nn.Module, Tensor, Tensor, Tensor]) -> None:
    """The published recipe fits k = h inputs exactly at the last site only, and knows little elsewhere."""
    network, calibration, x, _ = digits
    many = ensemble.generate(network, calibration, members=2, recipe=ensemble.presets["as_published"], rng=generator())
    assert many.generation is not None
    (site,) = many.generation.sites[0]
    assert (site.site, site.rows, site.hidden) == ("7 -> 9", 24, 24)
    assert {layer.ref.layer for layer in many.layers} == {"7", "9"}
    with torch.no_grad():
        off = (many.member_logits(x)[0] - network(x)).norm() / network(x).norm()
    assert float(off) > 0.3
    leaky = randomised(nn.Sequential(nn.Linear(6, 10), nn.LeakyReLU(), nn.Linear(10, 4)), dtype=torch.float64)
    inputs = torch.rand(100, 6, dtype=torch.float64, generator=generator())
    exact = ensemble.generate(leaky, inputs, members=1, recipe=ensemble.presets["as_published"], rng=generator())
    assert exact.generation is not None
    assert exact.generation.sites[0][0].residual < 1e-4
    assert exact.generation.sites[0][0].rank == 10


def test_wrong_kinds_are_refused() -> None:
    """A seed in place of a generator, a function in place of a network or a dict in place of a recipe is named."""
    network, x = randomised(mlp()), torch.rand(100, 6)
    with pytest.raises(InputError, match=r"rng: expected a torch\S*\.Generator, got int"):
        ensemble.generate(network, x, rng=0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="network: expected"):
        ensemble.generate(torch.relu, x, rng=generator())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="recipe: expected"):
        ensemble.generate(network, x, recipe={"scale": 1}, rng=generator())  # type: ignore[arg-type]
