"""A cascade changes cost, never meaning: it fools the points that cold runs fool.

The oracle is a linear classifier: without a box a point falls at epsilon exactly when a margin is smaller than epsilon
times the dual norm of the weights' difference.

Seen to fail with: the warm start scaled past its ball; fooled points attacked again; points that are wrong from the
start attacked; an example made elsewhere accepted without a verdict; the example of a lost point not carried to the
next radius; what an attack broke at the smallest radius handed to the next attack; epsilon 0 attacked.
"""

import pytest
import torch
from torch import Tensor, nn

from attacks.building import build_attack
from attacks.cascade import Cascade, Step
from attacks.ladder import craft
from attacks.metrics import robust_flags
from attacks.rows import AttackRow
from attacks.targets import NetworkModel, wrap
from attacks.threat import ThreatModel, measure
from attacks.working import judged_as_served
from tests.attacks.conftest import Points

BOUNDS = (-50.0, 50.0)
FGSM = AttackRow("fgsm", "fgsm", "white_box", surrogate="target")
PGD = AttackRow(
    "pgd",
    "pgd",
    "white_box",
    {"steps": 40, "rel_stepsize": 0.1, "random_start": True},
    surrogate="target",
)
APGD = AttackRow("apgd", "apgd_ce", "white_box", {"steps": 40}, surrogate="target")
TARGETED = AttackRow("dlr-t", "apgd_dlr_targeted", "white_box", {"steps": 20, "classes": 4}, surrogate="target")


def steps(model: NetworkModel, norm: str, *rows: AttackRow) -> list[Step]:
    """The attacks of a cascade; the second one goes on from the best point so far."""
    return [Step(row.id, build_attack(row, norm, served=True), model, index == 1) for index, row in enumerate(rows)]


def seeded(name: str, rung: int) -> int:
    """A seed per attack and radius."""
    return sum(map(ord, name)) + 1000 * rung


@pytest.fixture
def linear() -> NetworkModel:
    """A linear classifier of five classes on 12 features."""
    layer = nn.Linear(12, 5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(5, 12, generator=generator))
        layer.bias.copy_(torch.randn(5, generator=generator))
    network = nn.Sequential(nn.Flatten(), layer).eval().requires_grad_(False)
    return wrap(network, bounds=BOUNDS, example=torch.zeros(1, 1, 3, 4))


def falls(model: NetworkModel, inputs: Tensor, labels: Tensor, norm: str, epsilon: float) -> Tensor:
    """The closed form, `[batch]` bool."""
    weight = model.network[1].weight  # type: ignore[index]
    logits = model.logits(inputs)
    dual = {"linf": 1, "l2": 2}[norm]
    reach = torch.cdist(weight, weight, p=dual)[labels] * epsilon
    margin = logits.gather(1, labels[:, None]) - logits
    return ((margin < reach) & (reach > 0)).any(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_fooled_set_of_a_linear_classifier_is_the_closed_form(linear: NetworkModel, norm: str) -> None:
    """At every radius the cascade loses exactly the points that have an example in the ball."""
    inputs = torch.randn(60, 1, 3, 4, generator=torch.Generator().manual_seed(2))
    labels = linear.answers(inputs)
    labels[:5] = (labels[:5] + 1) % 5  # wrong from the start
    threat = ThreatModel(norm, (0.05, 0.1, 0.2, 0.4), BOUNDS)
    run = Cascade(judged_as_served(linear), threat, inputs, labels)
    run.run(steps(linear, norm, FGSM, APGD, TARGETED), [], seeded)
    lost = torch.stack([trace.fooled for trace in run.traces.values()]).any(0).cumsum(0) > 0
    clean = linear.held(inputs, labels)
    expected = torch.stack([falls(linear, inputs, labels, norm, epsilon) for epsilon in threat.epsilons])
    assert torch.equal(lost, expected & clean)
    assert 0 < int(lost[0].sum()) < int(lost[-1].sum()) < 55


@pytest.mark.parametrize("block", [7, 60])
def test_counts_do_not_depend_on_the_batch(linear: NetworkModel, block: int) -> None:
    """Cut into other blocks, the same points are lost at the same radii."""
    inputs = torch.randn(60, 1, 3, 4, generator=torch.Generator().manual_seed(2))
    labels = linear.answers(inputs)
    threat = ThreatModel("linf", (0.05, 0.2), BOUNDS)
    lost = []
    for x, y in zip(inputs.split(block), labels.split(block), strict=True):
        run = Cascade(judged_as_served(linear), threat, x, y)
        run.run(steps(linear, "linf", FGSM, APGD, TARGETED), [], seeded)
        lost.append(torch.stack([trace.fooled for trace in run.traces.values()]).any(0).cumsum(0) > 0)
    expected = torch.stack([falls(linear, inputs, labels, "linf", epsilon) for epsilon in threat.epsilons])
    assert torch.equal(torch.cat(lost, dim=1), expected)


def test_the_cascade_breaks_what_cold_runs_break(network: nn.Module, held_out: Points, threat: ThreatModel) -> None:
    """On a trained network no point is held that a cold run of the same attacks breaks, at any radius."""
    model = wrap(network, bounds=(0.0, 1.0), example=held_out.inputs[:2])
    inputs, labels = held_out.inputs, held_out.labels
    held = []
    for row in (FGSM, APGD, TARGETED):
        torch.manual_seed(0)
        crafted = craft(build_attack(row, "linf", served=True), model, inputs, labels, threat)
        held.append((~crafted.fooled).numpy())
    clean = model.held(inputs, labels)
    cold = torch.from_numpy(robust_flags(clean.numpy(), held))
    run = Cascade(judged_as_served(model), threat, inputs, labels)
    run.run(steps(model, "linf", FGSM, APGD, TARGETED), [], seeded)
    lost = torch.stack([trace.fooled for trace in run.traces.values()]).any(0).cumsum(0) > 0
    assert torch.equal(clean & ~lost, cold)


def test_examples_lie_in_their_balls_and_fool(network: nn.Module, held_out: Points, threat: ThreatModel) -> None:
    """The example of a point at a radius is inside that ball and the box, and wrong exactly where the point is lost."""
    model = wrap(network, bounds=(0.0, 1.0), example=held_out.inputs[:2])
    run = Cascade(judged_as_served(model), threat, held_out.inputs, held_out.labels)
    run.run(steps(model, "linf", FGSM, PGD), [], seeded)
    lost = torch.stack([trace.fooled for trace in run.traces.values()]).any(0).cumsum(0) > 0
    clean = model.held(held_out.inputs, held_out.labels)
    for rung, epsilon in enumerate(threat.epsilons):
        examples = run.examples[rung]
        assert float(measure("linf", examples - held_out.inputs).max()) <= epsilon + threat.tolerance
        assert float(examples.min()) >= 0.0
        assert float(examples.max()) <= 1.0
        assert torch.equal(model.held(examples, held_out.labels), clean & ~lost[rung])


def test_only_survivors_are_attacked(network: nn.Module, held_out: Points, threat: ThreatModel) -> None:
    """Each attack meets what the ones before it left, at this radius and below; wrong points are never attacked."""
    model = wrap(network, bounds=(0.0, 1.0), example=held_out.inputs[:2])
    run = Cascade(judged_as_served(model), threat, held_out.inputs, held_out.labels)
    run.run(steps(model, "linf", FGSM, PGD), [], seeded)
    alive = model.held(held_out.inputs, held_out.labels)
    for rung in range(3):
        for trace in run.traces.values():
            assert torch.equal(trace.attempted[rung], alive)
            alive = alive & ~trace.fooled[rung]
    spent = sum(trace.backwards for trace in run.traces.values())
    assert 0 < spent < 3 * 41 * int(model.held(held_out.inputs, held_out.labels).sum())


def test_examples_made_elsewhere_are_tried_first(network: nn.Module, held_out: Points, threat: ThreatModel) -> None:
    """A point that a given example fools is not attacked at all; one that it does not fool is."""
    model = wrap(network, bounds=(0.0, 1.0), example=held_out.inputs[:2])
    torch.manual_seed(0)
    crafted = craft(build_attack(PGD, "linf", served=True), model, held_out.inputs, held_out.labels, threat)
    start = crafted.examples.clone()
    start[:, 50:] = held_out.inputs[50:]  # no use for these
    run = Cascade(judged_as_served(model), threat, held_out.inputs, held_out.labels)
    run.run(steps(model, "linf", FGSM), [start], seeded)
    clean = model.held(held_out.inputs, held_out.labels)
    expected = crafted.fooled & clean
    expected[:, 50:] = False
    attempted = run.traces["fgsm"].attempted
    assert torch.equal(run.started[0], expected[0])
    assert not (attempted & (run.started.cumsum(0) > 0)).any()
    assert torch.equal(attempted[0, 50:], clean[50:])


def test_a_ball_without_room_is_not_attacked(network: nn.Module, held_out: Points) -> None:
    """Epsilon 0 leaves the clean verdict, whatever comes after it."""
    model = wrap(network, bounds=(0.0, 1.0), example=held_out.inputs[:2])
    run = Cascade(judged_as_served(model), ThreatModel("linf", (0.0, 0.2)), held_out.inputs, held_out.labels)
    run.run(steps(model, "linf", FGSM, PGD), [], seeded)
    assert not any(trace.attempted[0].any() for trace in run.traces.values())
    assert run.traces["pgd"].fooled[1].any()
    assert torch.equal(run.examples[0], held_out.inputs)
