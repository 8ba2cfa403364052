"""One try, in the process that owns torch: everybody's answer before and after one attack on one image."""

import base64
import io
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from attacks.building import build_attack
from attacks.canonical import seed_from
from attacks.gallery import png
from attacks.gradient.transfer import Transfer
from attacks.ladder import craft
from attacks.rows import AttackRow
from attacks.targets import EnsembleModel, NetworkModel, wrap
from attacks.threat import ThreatModel, measure
from ensemble.errors import InputError
from service.catalogue.repository import ModelRepository
from service.errors import NotFound
from service.jobs.data_sets import open_dataset
from service.settings import Settings
from service.trying.orders import ATTACKS
from service.trying.spool import Spool

BOUNDS: Final = (0.0, 1.0)
KEPT: Final = 2  # ensembles held ready
RANDOM: Final = "random_member"


class TryBench:
    """Answers tries; all state is a cache.

    Args:
        settings: where models, data sets and images lie, and the device.
    """

    def __init__(self, settings: Settings) -> None:
        torch.set_num_threads(settings.threads)
        self._settings = settings
        self._spool = Spool(settings.data / "try")
        self._models: OrderedDict[str, tuple[EnsembleModel, NetworkModel]] = OrderedDict()

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return what became of a try, JSON values only; nothing for the question `warm`, which only loads libraries.

        Raises:
            InputError: the image does not fit the ensemble.
            NotFound: the image or the ensemble is gone.
        """
        if question["do"] == "warm":
            return {}
        began = time.perf_counter()
        spec = question["spec"]
        target, base = self._target(spec)
        clean, label = self._image(spec)
        known = label is not None
        label = label if label is not None else int(base.answers(clean).item())
        torch.manual_seed(seed_from({"try": spec}))
        crafted = _craft(spec, target, base, clean, torch.tensor([label]))
        return {
            "label": {"value": label, "source": "data set" if known else "answer of the base"},
            "clean": _votes(target, base, clean),
            "adversarial": _votes(target, base, crafted),
            "perturbation": {name: float(measure(name, crafted - clean).item()) for name in ("linf", "l2", "l1")},
            "pictures": _pictures(clean, crafted),
            "seconds": round(time.perf_counter() - began, 3),
        }

    def _target(self, spec: Mapping[str, Any]) -> tuple[EnsembleModel, NetworkModel]:
        key = f"{spec['target_digest']} {spec['mode']}"
        if key not in self._models:
            repository = ModelRepository(self._settings.models_folder)
            model = repository.load(spec["target"], spec["target_version"], device=self._settings.device)
            if model.digest != spec["target_digest"]:
                raise NotFound(f"target {spec['target']}: expected the version that answers, got another; try again")
            info = repository.info(spec["target"], spec["target_version"])
            example = torch.zeros(1, *info.input_shape)
            wrapped = wrap(model, bounds=BOUNDS, example=example, role="ensemble", mode=spec["mode"])
            assert isinstance(wrapped, EnsembleModel)
            self._models[key] = (wrapped, wrap(model.base, bounds=BOUNDS, example=example, role="base"))
            while len(self._models) > KEPT:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        return self._models[key]

    def _image(self, spec: Mapping[str, Any]) -> tuple[Tensor, int | None]:
        """Return the image `[1 C H W]` and its label where one is known."""
        image, shape = spec["image"], tuple(spec["input_shape"])
        if "sha256" in image:
            stored = self._spool.image(spec["owner"], image["sha256"])
            if stored is None:
                raise NotFound("image: expected one that was uploaded within the hour, got another; upload it again")
            return fitted(stored, shape), None
        dataset = open_dataset(image["dataset"], self._settings)
        if tuple(dataset.input_shape) != shape:
            raise InputError(
                f"image: expected one of the shape {list(shape)}, got a data set of {list(dataset.input_shape)}; "
                "choose the data set the ensemble was made for"
            )
        part = dataset.part("test", min(dataset.size("test"), image["index"] + 1))
        return part.inputs[-1:], int(part.labels[-1].item())


def fitted(data: bytes, shape: tuple[int, int, int]) -> Tensor:
    """Return an RGB image as an input `[1 C H W]` in [0, 1], resized to the network's size.

    Args:
        data: a PNG.
        shape: `(C, H, W)` of the network.

    Raises:
        InputError: the network takes no images.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise InputError(f"image: expected a network of 1 or 3 channels, got one of {channels}; send a sample instead")
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        sized = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.asarray(sized, dtype=np.float32).reshape(height, width, channels) / 255)
    return pixels.permute(2, 0, 1)[None].contiguous()


def _craft(spec: Mapping[str, Any], target: EnsembleModel, base: NetworkModel, clean: Tensor, label: Tensor) -> Tensor:
    served = spec["surrogate"] == "ensemble"
    offer = ATTACKS[spec["attack"]]
    knowledge = "white_box" if served else "stolen_base"
    row = AttackRow("try", offer.kind, knowledge, offer.parameters(spec["steps"]))
    attack = build_attack(row, spec["norm"], served=served, random=served and spec["mode"] == RANDOM)
    threat = ThreatModel(spec["norm"], (spec["epsilon"],), BOUNDS)
    if served:
        return craft(attack, target, clean, label, threat).examples[0]
    return craft(Transfer(base, attack), base, clean, label, threat).examples[0]


def _votes(target: EnsembleModel, base: NetworkModel, inputs: Tensor) -> dict[str, Any]:
    """Return who answers what, with the probability each gives its answer."""
    with torch.no_grad():
        alone = base.logits(inputs)[0].softmax(-1)
        members = target.network.member_logits(inputs.to(target.device))[:, 0].softmax(-1)  # type: ignore[operator]
    whole = target.logits(inputs)[0].softmax(-1)
    labels = members.argmax(-1)
    pairs = len(labels) * (len(labels) - 1)
    different = int((labels[:, None] != labels[None]).sum())
    return {
        "base": _vote(alone),
        "members": [_vote(row) for row in members],
        "ensemble": _vote(whole),
        "disagreement": different / pairs if pairs else 0.0,
    }


def _vote(probabilities: Tensor) -> dict[str, Any]:
    label = int(probabilities.argmax())
    return {"label": label, "probability": round(float(probabilities[label]), 6)}


def _pictures(clean: Tensor, crafted: Tensor) -> dict[str, Any]:
    """Return PNGs in base64; the difference is grey where nothing changed, and as strong as it can be shown."""
    difference = (crafted - clean)[0]
    largest = float(difference.abs().max())
    scale = 0.5 / largest if largest > 0 else 1.0
    shown = {"clean": clean[0], "adversarial": crafted[0], "difference": 0.5 + scale * difference}
    return {**{name: base64.b64encode(png(image)).decode() for name, image in shown.items()}, "scale": scale}
