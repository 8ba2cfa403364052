"""Served tensors are what the library itself answers.

Seen to fail: all members run for a request to one; member axis not moved behind the rows; base answered for a member;
logits of the base for the ensemble.
"""

import numpy as np
import pytest
import torch

from ensemble.execution import Plan, Program
from service.catalogue.repository import ModelRepository
from service.inference.outputs import compute
from service.inference.plans import FastestPlan
from service.inference.signature import signature_of
from service.inference.views import View
from tests.service.inference.models import MEMBERS, stored_models


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
        results = compute(model, view, rows, device="cpu", fastest=FastestPlan())
        np.testing.assert_allclose(results["logits"], logits.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(results["probabilities"], logits.softmax(-1).numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(results["labels"], results["logits"].argmax(-1))
        signature = signature_of(view, input_shape=(1, 8, 8), num_classes=10, members=MEMBERS)
        assert set(results) == set(signature.output_names)
        for output in signature.outputs:
            assert results[output.name].shape == (5, *output.shape[1:])
            assert results[output.name].dtype == {"FP32": np.float32, "INT64": np.int64}[output.datatype]
    served = compute(model, View("digits"), rows, device="cpu", fastest=FastestPlan())
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
        compute(model, view, rows, device="cpu", fastest=recorded)
    assert recorded.asked == [range(1, 2), range(MEMBERS)]
