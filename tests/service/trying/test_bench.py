"""One try on a real ensemble: votes before and after, a perturbation within its radius, the same bytes again.

Seen to fail when: the ensemble's votes are the base's; the attack is not told its radius; the seed is ignored for
noise; an upload's label is taken from nowhere; the difference is scaled by twice its size.
"""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ensemble.errors import InputError
from service.catalogue.repository import ModelRepository
from service.errors import NotFound
from service.settings import Settings
from service.trying.bench import TryBench, fitted
from service.trying.orders import ATTACKS
from service.trying.spool import Spool
from service.trying.uploads import plain_png
from tests.service.inference.models import MEMBERS, copy_models


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> TryBench:
    """Return a bench beside the ensemble `digits`."""
    data = tmp_path_factory.mktemp("tries")
    copy_models(tmp_path_factory, data)
    return TryBench(Settings(data=data))


def spec(bench: TryBench, **changes: Any) -> dict[str, Any]:
    """Return an order as the desk writes it."""
    info = ModelRepository(bench._settings.models_folder).info("digits")
    made = {
        "type": "try",
        "image": {"dataset": "digits", "index": 3},
        "target": "digits",
        "target_version": info.version,
        "target_digest": info.digest,
        "input_shape": list(info.input_shape),
        "mode": "prob",
        "owner": "local",
        "surrogate": "base",
        "attack": "pgd",
        "norm": "linf",
        "epsilon": 0.2,
        "steps": 5,
        "seed": 0,
    }
    return made | changes


def tried(bench: TryBench, **changes: Any) -> dict[str, Any]:
    """Return the answer to a try, without its time."""
    answer = bench.answer({"do": "try", "spec": spec(bench, **changes)})
    assert answer.pop("seconds") >= 0
    return answer


@pytest.mark.parametrize("kind", sorted(ATTACKS))
@pytest.mark.parametrize("surrogate", ["base", "ensemble"])
def test_every_attack_stays_within_its_radius(bench: TryBench, kind: str, surrogate: str) -> None:
    """Every offered attack moves the image, and not further than asked."""
    answer = tried(bench, attack=kind, surrogate=surrogate)
    assert 0 < answer["perturbation"]["linf"] <= 0.2 + 1e-6
    assert len(answer["adversarial"]["members"]) == MEMBERS


def test_radius_zero_changes_nothing(bench: TryBench) -> None:
    """Without a radius the votes after are the votes before, and all of them are there."""
    answer = tried(bench, epsilon=0.0)
    assert answer["perturbation"]["linf"] == 0
    assert answer["clean"] == answer["adversarial"]
    assert answer["label"] == {"value": 9, "source": "data set"}
    network = bench._target(spec(bench))[0].network
    image, _ = bench._image(spec(bench))
    assert answer["clean"]["base"]["label"] == int(network.base(image).argmax())
    members = [vote["label"] for vote in answer["clean"]["members"]]
    assert members == network.predict(image).member_labels[:, 0].tolist()
    assert answer["clean"]["ensemble"]["probability"] == pytest.approx(
        float(network.predict(image).probabilities.max()), abs=1e-5
    )


def test_a_large_radius_makes_the_base_fall(bench: TryBench) -> None:
    """The attack works: crafted on the base, it fools the base."""
    answer = tried(bench, epsilon=0.3, steps=20)
    assert answer["clean"]["base"]["label"] == 9 != answer["adversarial"]["base"]["label"]


@pytest.mark.parametrize(("changes", "same"), [({}, True), ({"seed": 1}, False)])
def test_the_seed_decides(bench: TryBench, changes: dict[str, Any], same: bool) -> None:
    """The same order gives the same bytes; another seed gives other noise."""
    assert (tried(bench, attack="noise") == tried(bench, attack="noise", **changes)) is same


def test_the_difference_is_shown_as_strong_as_it_can_be(bench: TryBench) -> None:
    """Grey is no change; the largest change is black or white, and the scale says how much that was."""
    answer = tried(bench)
    with Image.open(io.BytesIO(base64.b64decode(answer["pictures"]["difference"]))) as image:
        pixels = np.asarray(image, dtype=int)
    assert pixels.min() <= 1 or pixels.max() >= 254
    assert answer["pictures"]["scale"] == pytest.approx(0.5 / answer["perturbation"]["linf"], rel=1e-4)


def test_an_upload_is_resized_and_labelled_by_the_base(bench: TryBench) -> None:
    """A picture of another size is tried too; what the base answers counts as right."""
    written = io.BytesIO()
    Image.new("RGB", (50, 40), "white").save(written, format="PNG")
    Spool(bench._settings.data / "try").keep_image("ann", "a" * 64, plain_png(written.getvalue()))
    answer = tried(bench, image={"sha256": "a" * 64}, owner="ann", epsilon=0.0)
    assert answer["label"] == {"value": answer["clean"]["base"]["label"], "source": "answer of the base"}
    with pytest.raises(NotFound, match="upload it again"):
        tried(bench, image={"sha256": "a" * 64}, owner="bob")


def test_images_are_fitted_to_the_network() -> None:
    """Channels first, in [0, 1]; a network of two channels takes no pictures."""
    written = io.BytesIO()
    Image.new("RGB", (9, 7), (255, 0, 0)).save(written, format="PNG")
    colour = fitted(written.getvalue(), (3, 4, 5))
    assert tuple(colour.shape) == (1, 3, 4, 5)
    assert colour[0, 0].min() == 1
    assert colour[0, 1].max() == 0
    assert fitted(written.getvalue(), (1, 4, 5)).max() < 0.5
    with pytest.raises(InputError, match="1 or 3 channels"):
        fitted(written.getvalue(), (2, 4, 5))


def test_a_model_that_was_exchanged_is_refused(bench: TryBench) -> None:
    """The votes shown are those of the version that answers, or there are none."""
    with pytest.raises(NotFound, match="another"):
        tried(bench, target_digest="0" * 64)
