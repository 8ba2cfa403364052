"""Served tensors are what the library itself answers.

Seen to fail: all members run for a request to one; member axis not moved behind the rows; base answered for a member;
logits of the base for the ensemble; mean logits answered for votes; UINT8 divided by 256; a slice one short.
"""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ensemble
from ensemble.aggregation import aggregation
from ensemble.execution import Plan, Program
from service.catalogue.repository import ModelRepository
from service.inference.executions import PHASES
from service.inference.outputs import compute, even_slices
from service.inference.plans import FastestPlan
from service.inference.questions import Question
from service.inference.signature import signature_of
from service.inference.views import View
from tests.service.inference.models import MEMBERS, stored_models


def answers(
    model: ensemble.SymmetryEnsemble,
    view: View,
    rows: Any,
    *,
    members: tuple[int, ...] | None = None,
    mode: str = "prob",
    fastest: FastestPlan | None = None,
) -> Any:
    """Return every output of a view."""
    names = signature_of(view, input_shape=(1, 8, 8), num_classes=10, members=MEMBERS).output_names
    question = Question(view, frozenset(names), members, mode, rows.dtype.name)
    way = aggregation(mode, rng=torch.Generator().manual_seed(0))
    done = compute(model, question, rows, device="cpu", fastest=fastest or FastestPlan(), aggregation=way)
    assert set(done.seconds) == set(PHASES)
    return done.results


def test_every_view_answers_like_the_library(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Aggregate, member and base equal the library's own calls, in the declared shapes."""
    model = ModelRepository(stored_models(tmp_path_factory)).load("digits")
    rows = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    inputs = torch.from_numpy(rows)
    with torch.inference_mode():
        expected = {
            View("digits"): model(inputs),
            View("digits", "base"): model.base(inputs),
            View("digits", "member", 1): model.member(1)(inputs),
        }
        prediction = model.predict(inputs)
    for view, logits in expected.items():
        results = answers(model, view, rows)
        np.testing.assert_allclose(results["logits"], logits.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(results["probabilities"], logits.softmax(-1).numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(results["labels"], results["logits"].argmax(-1))
        signature = signature_of(view, input_shape=(1, 8, 8), num_classes=10, members=MEMBERS)
        assert set(results) == set(signature.output_names)
        for output in signature.outputs:
            assert results[output.name].shape == (5, *output.shape[1:])
            assert results[output.name].dtype == {"FP32": np.float32, "INT64": np.int64}[output.datatype]
    served = answers(model, View("digits"), rows)
    np.testing.assert_allclose(served["disagreement"], prediction.disagreement.numpy())
    np.testing.assert_allclose(served["mutual_information"], prediction.mutual_information.numpy(), atol=1e-6)
    np.testing.assert_array_equal(served["member_labels"], prediction.member_labels.numpy().T)
    np.testing.assert_allclose(served["member_probabilities"].mean(1), served["probabilities"], rtol=1e-4, atol=1e-6)


class Recorded(FastestPlan):
    """Notes which members were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[range] = []

    def plan(self, program: Program, inputs: torch.Tensor, members: slice) -> Plan:
        """Note the members."""
        self.asked.append(range(*members.indices(program.size)))
        return super().plan(program, inputs, members)


def test_only_the_members_of_a_view_are_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One member for its own view, all for the ensemble, none for the base."""
    model = ModelRepository(stored_models(tmp_path_factory)).load("digits")
    recorded = Recorded()
    rows = np.zeros((2, 1, 8, 8), dtype=np.float32)
    for view in (View("digits", "member", 1), View("digits"), View("digits", "base")):
        answers(model, view, rows, fastest=recorded)
    assert recorded.asked == [range(1, 2), range(MEMBERS)]


def test_modes_and_members_answer_like_their_definitions(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Mean logits, vote counts and shares, one random member per row, and a chosen member alone."""
    model = ModelRepository(stored_models(tmp_path_factory)).load("digits")
    rows = np.random.default_rng(1).random((40, 1, 8, 8), dtype=np.float32)
    with torch.inference_mode():
        logits = model.member_logits(torch.from_numpy(rows)).numpy()
    votes = (logits.argmax(-1)[..., None] == np.arange(10)).sum(0)
    view = View("digits")
    found = answers(model, view, rows, mode="logit")
    np.testing.assert_allclose(found["logits"], logits.mean(0), rtol=1e-4, atol=1e-5)
    found = answers(model, view, rows, mode="vote")
    np.testing.assert_array_equal(found["logits"], votes)
    np.testing.assert_allclose(found["probabilities"], votes / MEMBERS)
    np.testing.assert_array_equal(found["labels"], votes.argmax(-1))
    found = answers(model, view, rows, mode="random_member")
    drawn = np.abs(found["logits"][None] - logits).max(-1).argmin(0)
    assert set(drawn) == set(range(MEMBERS))
    np.testing.assert_allclose(found["logits"], logits[drawn, np.arange(40)], rtol=1e-4, atol=1e-5)
    found = answers(model, view, rows, members=(1,))
    np.testing.assert_allclose(found["logits"], torch.from_numpy(logits[1]).log_softmax(-1), rtol=1e-4, atol=1e-5)
    assert found["member_labels"].shape == (40, 1)
    assert not found["disagreement"].any()


def test_bytes_are_scaled_by_255(tmp_path_factory: pytest.TempPathFactory) -> None:
    """UINT8 rows answer what the same values answer as FP32."""
    model = ModelRepository(stored_models(tmp_path_factory)).load("digits")
    rows = np.random.default_rng(2).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    scaled = (rows / np.float32(255)).astype(np.float32)
    left, right = (answers(model, View("digits"), values)["logits"] for values in (rows, scaled))
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


@given(members=st.sets(st.integers(0, 40), min_size=1))
def test_slices_hold_exactly_the_chosen_members(members: set[int]) -> None:
    """Together they name every member once, in ascending order."""
    chosen = sorted(members)
    assert [index for part in even_slices(chosen) for index in range(41)[part]] == chosen
