"""The ensemble as a network: members, execution, aggregation and uncertainty.

Seen to fail: mean of logits in place of mean probability; disagreement over ordered pairs divided by M²; a member's
norm left in the path; the shared prefix cut one node too late.
"""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import ensemble
from ensemble.controls import exact_ensemble, noise_ensemble, scrambled_ensemble
from ensemble.errors import InputError
from ensemble.members import SymmetryEnsemble, folded_trunk
from ensemble.prediction import predict_from
from tests.ensemble.cases import ResidualNet, generator, images, plain_cnn, randomised

FAST = ensemble.Recipe(search_steps=5, crafting_radii=(0.05,), crafting_steps=2)


@pytest.fixture(scope="module", params=[plain_cnn, ResidualNet], ids=["plain", "residual"])
def many(request: pytest.FixtureRequest) -> SymmetryEnsemble:
    """A three-member ensemble of a random network."""
    network = randomised(request.param())
    return ensemble.generate(network, images(200), members=3, recipe=FAST, rng=generator())


def test_stacked_execution_equals_standalone_members(many: SymmetryEnsemble) -> None:
    """Running the shared prefix once gives what each standalone member gives, outputs and input gradients."""
    x = images(9, seed=4).requires_grad_()
    logits = many.member_logits(x)
    assert logits.shape == (3, 9, 5)
    for index in range(3):
        own = many.member(index)
        assert_close(logits[index], own(x), rtol=1e-4, atol=1e-5)
        (a,) = torch.autograd.grad(logits[index].square().sum(), x, retain_graph=True)
        (b,) = torch.autograd.grad(own(x).square().sum(), x)
        assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_member_loads_strictly_into_the_base_class(many: SymmetryEnsemble) -> None:
    """A member's state dictionary has the base's keys, shapes and dtypes."""
    own, base = many.member(1).state_dict(), many.base.state_dict()
    assert list(own) == list(base)
    assert all(own[name].shape == base[name].shape and own[name].dtype == base[name].dtype for name in own)
    type(many.base)  # the class itself, not a wrapper
    assert type(many.member(1)) is type(many.base)


def test_forward_is_the_log_of_the_mean_probability(many: SymmetryEnsemble) -> None:
    """The ensemble's logits are log mean softmax, finite where probabilities underflow."""
    x = images(6)
    probabilities = many.member_logits(x).softmax(-1).mean(0)
    assert_close(many(x).softmax(-1), probabilities, rtol=1e-5, atol=1e-6)
    assert_close(many(x).logsumexp(-1), torch.zeros(6), rtol=0, atol=1e-5)
    extreme = torch.tensor([[[0.0, -1e4]], [[-1e4, 0.0]]])
    assert_close(predict_from(extreme).probabilities, torch.tensor([[0.5, 0.5]]))


def test_prediction_against_brute_force() -> None:
    """Disagreement, entropy and mutual information match their definitions written out."""
    logits = torch.randn(4, 50, 3, generator=generator(), dtype=torch.float64) * 2
    prediction = predict_from(logits)
    for row in range(50):
        p = logits[:, row].softmax(-1)
        labels = p.argmax(-1).tolist()
        pairs = list(itertools.combinations(labels, 2))
        assert float(prediction.disagreement[row]) == pytest.approx(sum(a != b for a, b in pairs) / len(pairs))
        mean = p.mean(0)
        entropy = -sum(float(v) * math.log(float(v)) for v in mean)
        own = sum(-sum(float(v) * math.log(float(v)) for v in q) for q in p) / 4
        assert float(prediction.entropy[row]) == pytest.approx(entropy)
        assert float(prediction.mutual_information[row]) == pytest.approx(entropy - own)
        assert int(prediction.labels[row]) == int(mean.argmax())
    assert float(predict_from(logits[:1]).disagreement.abs().max()) == 0.0


def test_moving_to_another_dtype_keeps_the_function(many: SymmetryEnsemble) -> None:
    """.double() moves base and members together and the plan is rebuilt."""
    x = images(4)
    expected = many.member_logits(x)
    many.double()
    try:
        assert_close(many.member_logits(x.double()).float(), expected, rtol=1e-3, atol=1e-4)
    finally:
        many.float()
    assert_close(many.member_logits(x), expected, rtol=1e-5, atol=1e-5)


def test_only_changed_layers_are_stored_per_member(many: SymmetryEnsemble) -> None:
    """The stem (or head) that no site touches is stored once."""
    per_member = sum(layer.weight[0].numel() for layer in many.layers)
    assert per_member < sum(parameter.numel() for parameter in many.base.parameters())
    assert not many.train().training
    assert not any(parameter.requires_grad for parameter in many.parameters())


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (torch.zeros(1, 8, 8), "expected shape"),
        (torch.zeros(2, 1, 8, 7), "expected shape"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.float64), "torch.float64"),
    ],
)
def test_bad_inputs_are_refused(many: SymmetryEnsemble, x: torch.Tensor, match: str) -> None:
    """Wrong shape or dtype raises with both shapes."""
    with pytest.raises(InputError, match=match):
        many(x)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_of_damaged_inputs_are_refused(many: SymmetryEnsemble, value: float) -> None:
    """A NaN or infinity raises instead of coming back as an answer."""
    x = images(3)
    x[1, 0, 0, 0] = value
    with pytest.raises(InputError, match="finite"):
        many.predict(x)


@pytest.mark.parametrize("index", [-1, 3, "0"])
def test_unknown_member_is_refused(many: SymmetryEnsemble, index: int) -> None:
    """A member index outside the ensemble raises with the range."""
    with pytest.raises(InputError, match=r"0\.\.2"):
        many.member(index)


@pytest.mark.parametrize("build", [plain_cnn, ResidualNet])
def test_exact_ensemble_is_the_null_test(build: object) -> None:
    """An exact symmetry changes neither outputs nor input gradients, although it changes the weights."""
    network = randomised(build())  # type: ignore[operator]
    x = images(8).requires_grad_()
    null = exact_ensemble(network, x, members=2, rng=generator())
    scale = float(network(x).detach().abs().max())
    assert_close(null.member_logits(x)[1], network(x), rtol=0, atol=1e-5 * scale)
    (a,) = torch.autograd.grad(null(x)[:, 0].sum(), x)
    (b,) = torch.autograd.grad(network(x).log_softmax(-1)[:, 0].sum(), x)
    assert float(nn.functional.cosine_similarity(a.flatten(1), b.flatten(1)).min()) > 0.999
    first = null.layers[0]
    assert float((first.weight[0] - folded_trunk(null)[first.ref].weight).abs().max()) > 0.1


def test_powers_of_two_are_exact_to_the_bit() -> None:
    """Scaling by powers of two without permutation leaves a network without BatchNorm bit-identical."""
    network = randomised(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)))
    x = images(16)
    null = exact_ensemble(network, x, members=2, rng=generator(), powers_of_two=True)
    assert_close(null.member_logits(x)[0], network(x), rtol=0, atol=0)
    assert float((null.layers[0].weight[0] - network[0].weight.detach()).abs().max()) > 0.1


def test_controls_move_as_far_or_scramble(many: SymmetryEnsemble) -> None:
    """Noise members lie exactly as far from the base as the real ones; scrambled members hold the same entries."""
    base = folded_trunk(many)
    noisy = noise_ensemble(many, rng=generator())
    scrambled = scrambled_ensemble(many, rng=generator())
    for real, noise, shuffled in zip(many.layers, noisy.layers, scrambled.layers, strict=True):
        start = base[real.ref].weight
        for index in range(3):
            distance = (real.weight[index] - start).norm()
            assert_close((noise.weight[index] - start).norm(), distance, rtol=1e-4, atol=1e-6)
            assert_close(shuffled.weight[index].flatten().sort().values, real.weight[index].flatten().sort().values)
        assert float((noise.weight - real.weight).abs().max()) > 1e-3
        assert float((shuffled.weight - real.weight).abs().max()) > 1e-3
