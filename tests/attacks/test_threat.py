"""The threat model refuses what it cannot mean.

Seen to fail with: `epsilon < 0` left out; `math.isfinite` left out; the L2 norm without its root; the headline taken
from the smallest radius; default radii not scaled by the box; the L1 norm as a mean; the tolerance taken from the
box alone, or ten times as large; numbers of numpy or torch not converted.
"""

from typing import Any

import numpy as np
import pytest
import torch
from foolbox.distances import l1, l2

from attacks.threat import KNOWLEDGE, ThreatModel, check_bounds, default_threat, measure, threat_sentence
from ensemble.errors import InputError, UnknownName


@pytest.mark.parametrize(
    "epsilons",
    [(), (-0.1,), (float("nan"),), (float("inf"),), (0.1, 0.1), ("0.1",), (True,), 0.1, "0.1", None],
)
def test_malformed_radii_are_refused(epsilons: Any) -> None:
    """Empty, negative, not finite, repeated or not numbers: each is an InputError that says what was expected."""
    with pytest.raises(InputError, match="expected"):
        ThreatModel(epsilons=epsilons)


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.0, 0.0), (0.0,), (0.0, float("inf")), (False, True)])
def test_malformed_bounds_are_refused(bounds: Any) -> None:
    """Bounds are two finite numbers in order."""
    with pytest.raises(InputError, match="low < high"):
        ThreatModel(bounds=bounds)


@pytest.mark.parametrize(
    "epsilons",
    [
        np.array([0.25, 0.5]),
        np.array([0.25, 0.5], dtype=np.float32),
        torch.tensor([0.25, 0.5]),
        [np.float32(0.25), np.float64(0.5)],
        (torch.tensor(0.25), np.array(0.5)),
        [np.float16(0.25), 0.5],
    ],
)
def test_radii_of_numpy_and_torch_become_floats(epsilons: Any) -> None:
    """Arrays, tensors and their scalars mean what Python's numbers mean, and JSON can hold what is stored."""
    threat = ThreatModel(epsilons=epsilons, bounds=np.array([0, 1]))  # type: ignore[arg-type]
    assert threat == ThreatModel(epsilons=(0.25, 0.5))
    assert {type(value) for value in (*threat.epsilons, *threat.bounds)} == {float}


@pytest.mark.parametrize(
    "epsilons",
    [
        np.array([[0.1, 0.2]]),
        torch.tensor([]),
        np.array(0.1),
        torch.tensor(0.1),
        np.float32(0.1),
        np.array([True]),
        np.array([0.1, np.nan]),
        torch.tensor([0.1 + 1j]),
        np.array(["0.1"]),
        {0.1},
    ],
)
def test_arrays_that_are_no_list_of_radii_are_refused(epsilons: Any) -> None:
    """Two axes, no axis, no value, truth values, text, complex numbers: none is taken for radii."""
    with pytest.raises(InputError, match=r"epsilons? of the threat model: expected .+, got .+; (pass|give)"):
        ThreatModel(epsilons=epsilons)


def test_unknown_norms_are_listed() -> None:
    """The message lists the known norms."""
    with pytest.raises(UnknownName, match="l1, l2, linf"):
        ThreatModel(norm="l0")


def test_fields_take_their_normal_form() -> None:
    """Radii are sorted floats, lists become tuples, and JSON gives the same value back."""
    threat = ThreatModel("l2", [2, 0, 0.5], [0, 255])  # type: ignore[arg-type]
    assert threat.epsilons == (0.0, 0.5, 2.0)
    assert threat.bounds == (0.0, 255.0)
    assert threat.headline == 2.0
    assert threat.tolerance == pytest.approx(2.55e-4)
    assert ThreatModel.from_dict(threat.to_dict()) == threat


def test_an_unknown_field_is_refused() -> None:
    """A misspelt key is an error, not a default."""
    with pytest.raises(UnknownName, match="eps"):
        ThreatModel.from_dict({"norm": "linf", "eps": [0.1]})


def test_norms_are_measured() -> None:
    """Linf is the largest change, L2 the root of the sum of squares, L1 the sum of the sizes, per point."""
    delta = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 1.0]]]])
    assert measure("linf", delta).tolist() == [4.0, 1.0]
    assert measure("l2", delta).tolist() == [5.0, 1.0]
    assert measure("l1", delta).tolist() == [7.0, 1.0]


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_tolerance_covers_rounding_of_large_norms_and_little_more(norm: str) -> None:
    """What foolbox clips to a large radius exceeds it by rounding alone, within the tolerance."""
    distance, epsilon = {"l1": (l1, 300.0), "l2": (l2, 25.0)}[norm]
    x = torch.rand(32, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    far = (x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    excess = measure(norm, distance.clip_perturbation(x, far, epsilon) - x).max().item() - epsilon
    assert 1e-6 < excess <= ThreatModel(norm, (epsilon,)).tolerance
    assert ThreatModel(norm, (epsilon,)).tolerance <= 1e-6 * epsilon


def test_default_radii_follow_the_data_and_the_box() -> None:
    """Colour images get 8/255, digits 0.3; a box of width 2 doubles them."""
    assert default_threat((3, 32, 32)).headline == pytest.approx(8 / 255)
    assert default_threat((1, 8, 8)).epsilons == (0.1, 0.2, 0.3)
    assert default_threat((3, 32, 32), norm="l1").epsilons == (4.0, 8.0, 12.0)
    assert default_threat((1, 8, 8), norm="l1").epsilons == (5.0, 10.0)
    assert default_threat((1, 8, 8), bounds=(-1.0, 1.0)).headline == pytest.approx(0.6)


def test_the_sentence_names_goal_knowledge_capability_and_budget() -> None:
    """Everything a reader needs is in one sentence."""
    text = threat_sentence(ThreatModel("linf", (0.1,)), KNOWLEDGE["stolen_base"])
    for part in (
        "any wrong answer",
        "no queries",
        "lacks the members",
        "linf",
        "0.1",
        "query budget",
        "does not claim",
    ):
        assert part in text


def test_bounds_are_compared_in_the_precision_of_the_inputs() -> None:
    """A float32 0.3 is inside (0, 0.3), though it is larger as a double; 0.31 is not."""
    check_bounds(torch.tensor([0.0, 0.3]), (0.0, 0.3))
    with pytest.raises(InputError, match="within the bounds"):
        check_bounds(torch.tensor([0.0, 0.31]), (0.0, 0.3))
