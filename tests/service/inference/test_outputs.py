"""Served tensors are what the library itself answers.

Seen to fail: member axis not moved behind the rows; base answered for a member; logits of the base for the ensemble.
"""

import numpy as np
import pytest
import torch

from service.catalogue.repository import ModelRepository
from service.inference.outputs import compute
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
        results = compute(model, view, rows, device="cpu")
        np.testing.assert_allclose(results["logits"], logits.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(results["probabilities"], logits.softmax(-1).numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(results["labels"], results["logits"].argmax(-1))
        signature = signature_of(view, input_shape=(1, 8, 8), num_classes=10, members=MEMBERS)
        assert set(results) == set(signature.output_names)
        for output in signature.outputs:
            assert results[output.name].shape == (5, *output.shape[1:])
            assert results[output.name].dtype == {"FP32": np.float32, "INT64": np.int64}[output.datatype]
    served = compute(model, View("digits"), rows, device="cpu")
    np.testing.assert_allclose(served["disagreement"], prediction.disagreement.numpy())
    np.testing.assert_allclose(served["mutual_information"], prediction.mutual_information.numpy(), atol=1e-6)
    np.testing.assert_array_equal(served["member_labels"], prediction.member_labels.numpy().T)
    np.testing.assert_allclose(served["member_probabilities"].mean(1), served["probabilities"], rtol=1e-4, atol=1e-6)
