"""A gallery shows true pictures and true answers, evenly over its kinds, and stays small.

Seen to fail when: rows of a PNG lose their filter byte; the answers are those on the clean input; a leak is shown with
the white-box example; the kinds are filled one after the other; images are not cut to 64 pixels.
"""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from attacks import ThreatModel
from attacks.gallery import _evenly, gallery, png
from attacks.positive_controls import GradientKiller
from attacks.targets import wrap
from tests.attacks.conftest import Points

BOX = (0.0, 1.0)
THREAT = ThreatModel("linf", (0.05, 0.1))


def _read(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))).astype(float) / 255


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_is_read_back_by_another_library(channels: int) -> None:
    """Every pixel survives, to one level of 255."""
    image = torch.rand(channels, 5, 7)
    read = np.asarray(Image.open(io.BytesIO(png(image)))).astype(float) / 255
    expected = image.permute(1, 2, 0).squeeze(-1).numpy()
    assert np.abs(read - expected).max() <= 0.5 / 255 + 1e-6


def test_the_gallery_shows_what_was_sent(members: nn.Module, network: nn.Module, held_out: Points) -> None:
    """Pictures differ by at most epsilon, labels are those that the networks give to the example."""
    target = wrap(members, bounds=BOX, example=held_out.inputs[:4])
    base = wrap(network, bounds=BOX, example=held_out.inputs[:4])
    items = gallery(target, base, held_out.inputs[:40], held_out.labels[:40], THREAT, seed=0)
    assert 0 < len(items) <= 12
    for item in items:
        original, perturbed = _read(item["original_png"]), _read(item["perturbed_png"])
        assert np.abs(original - held_out.inputs[item["index"], 0].numpy()).max() <= 0.5 / 255 + 1e-6
        assert 0 < np.abs(perturbed - original).max() <= 0.1 + 1.01 / 255
        difference = _read(item["difference_png"])
        assert np.abs(difference - 0.5 - item["difference_scale"] * (perturbed - original)).max() <= 0.03
        assert (item["served_label"] == item["label"]) == (item["kind"] == "held")
        assert len(item["member_labels"]) == 2
    assert {item["epsilon"] for item in items} == {0.1}


def test_a_leak_is_shown_with_the_example_that_leaked(network: nn.Module, held_out: Points) -> None:
    """Where gradients are masked, examples of the base are what fools: the kind says so."""
    target = wrap(GradientKiller(network), bounds=BOX, example=held_out.inputs[:4])
    base = wrap(network, bounds=BOX, example=held_out.inputs[:4])
    items = gallery(target, base, held_out.inputs[:40], held_out.labels[:40], THREAT, seed=0)
    leaks = [item for item in items if item["kind"] == "leak"]
    assert len(leaks) >= 4
    assert all(item["served_label"] != item["label"] for item in leaks)
    assert {item["attack"] for item in leaks} == {"PGD-20, made on the base"}


def test_kinds_share_the_places() -> None:
    """Twelve places go round the kinds; a kind with few points leaves its places to the others."""
    chosen = _evenly({"lost": list(range(50)), "leak": [7], "held": list(range(50))})
    kinds = [kind for kind, _ in chosen]
    assert (kinds.count("leak"), len(kinds)) == (1, 12)
    assert abs(kinds.count("lost") - kinds.count("held")) <= 1


def test_large_images_are_cut_and_other_data_has_no_gallery() -> None:
    """A picture has at most 64 pixels a side; five channels are no image."""

    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.flatten(1).sum(1), 1 - x.flatten(1).sum(1)], 1)

    for shape, expected in (((3, 130, 100), 2), ((5, 8, 8), 0)):
        x = torch.rand(2, *shape)
        model = wrap(Flat().eval(), bounds=BOX, example=x)
        items = gallery(model, model, x, model.answers(x), THREAT, seed=0)
        assert len(items) == expected
        for item in items:
            assert max(_read(item["original_png"]).shape[:2]) <= 64
