"""One evaluation as the command line orders it, run in this process or on a service."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from attacks import EvaluationReport, ThreatModel, default_threat
from attacks.data import DataDescription
from attacks.evaluate import run_all
from attacks.shards import Evaluation
from attacks.suites import suite_named
from ensemble.errors import InputError
from service.catalogue import datasets, user_network
from service.catalogue.building import checked_device
from service.catalogue.model_info import ModelInfo
from service.catalogue.repository import ModelRepository
from service.cli.client import ServiceClient
from service.jobs.data_sets import calibration_of, points_of_others
from service.settings import Settings

BLOCK = 64
USED_IN_BUILDING = ("train", "calibration")

Report = Callable[[Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is judged, on which images, against which attacker.

    Attributes:
        target: name of the ensemble.
        dataset: name of the labelled data set; the one the ensemble was built on when None.
        split: part of the data set.
        count: how many images of the part.
        norms: linf, l2, l1; the first carries the headline, and those of the suite stand in for none.
        epsilons: radii in input units, of a single norm; the usual ones for the images when empty.
        suite: named list of attacks.
        mode: how the members' answers become one.
        datatype: how clients send inputs, FP32 or UINT8.
        seed: seed of everything random.
        draws: draws of the group in all; the suite's number when None.
    """

    target: str
    dataset: str | None = None
    split: str = "test"
    count: int = 200
    norms: tuple[str, ...] = ()
    epsilons: tuple[float, ...] = ()
    suite: str = "quick"
    mode: str = "prob"
    datatype: str = "FP32"
    seed: int = 0
    draws: int | None = None

    def threats(self, input_shape: tuple[int, int, int]) -> list[ThreatModel]:
        """Return the threat models for inputs of a shape `(C, H, W)`; the first one carries the headline.

        Raises:
            InputError: a norm is not known, a radius is below zero, or radii are given for several norms.
        """
        norms = self.norms or (suite_named(self.suite).norms if not self.epsilons else ("linf",))
        if not self.epsilons:
            return [default_threat(input_shape, norm=norm) for norm in norms]
        if len(norms) > 1:
            raise InputError(
                f"epsilons: expected them with a single norm, got {', '.join(norms)}; a radius means something else in "
                "each norm: run one evaluation per norm, or leave the radii out"
            )
        return [ThreatModel(norm=norms[0], epsilons=self.epsilons)]

    def job(self, dataset: str, input_shape: tuple[int, int, int]) -> dict[str, Any]:
        """Return the body that creates this evaluation as a job."""
        threat, *also = (threat.to_dict() for threat in self.threats(input_shape))
        return {
            "type": "evaluate",
            "target": self.target,
            "data": {"name": dataset, "split": self.split, "n": self.count},
            "threat": threat,
            "also": also,
            "suite": {"name": self.suite},
            "mode": self.mode,
            "datatype": self.datatype,
            "draws": self.draws,
            "seed": self.seed,
            "block": BLOCK,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """What an evaluation in this process needs besides its order.

    Attributes:
        settings: where models and data sets lie.
        device: torch device.
        download: fetch missing torchvision files.
        architecture: `FILE.py:FACTORY` of an ensemble built from the user's own network.
        examples: where the attacks' examples are kept, so that they can be scored again; None keeps their digests.
    """

    settings: Settings
    device: str = "cpu"
    download: bool = False
    architecture: str | None = None
    examples: Path | None = None


def evaluate_here(order: Order, here: Here, *, progress: Report) -> EvaluationReport:
    """Return the report of an evaluation computed in this process.

    Args:
        order: what is judged.
        here: where its parts lie.
        progress: called after each shard.

    Raises:
        LevelsetError: the ensemble, the data set or the order do not allow it.
    """
    return run_all(prepare(order, here), progress=progress)


def evaluate_there(order: Order, url: str, *, progress: Report) -> EvaluationReport:
    """Return the report of an evaluation run as a job of a service.

    Raises:
        ServiceFailure: the service does not answer, refuses, or the job fails.
    """
    with ServiceClient(url) as client:
        found = client.record(order.target)
        channels, height, width = found["input_shape"]
        dataset = order.dataset or found.get("dataset")
        if dataset is None:
            raise InputError(f"data set: expected one, since ensemble {order.target} names none; pass --dataset")
        job = client.wait(client.submit(order.job(dataset, (channels, height, width))), progress=progress)
        return EvaluationReport.from_json(client.report(job["report_id"], "json"))


def prepare(order: Order, here: Here) -> Evaluation:
    """Return the context of an evaluation in this process: target, images, threat model, digests of what was used.

    Raises:
        LevelsetError: the ensemble, the data set or the order do not allow it.
    """
    repository = ModelRepository(here.settings.models_folder)
    info = repository.info(order.target)
    build = None
    if here.architecture is not None:
        build = partial(user_network.build_from_file, here.architecture, num_classes=info.num_classes)
    device = checked_device(here.device)
    target = repository.load(order.target, info.version, device=device, build=build)
    source = datasets.load(_dataset_name(order, info), here.settings.datasets_folder, download=here.download)
    if source.input_shape != info.input_shape:
        raise InputError(
            f"data set {source.name}: expected images {list(info.input_shape)} like the ensemble's, got "
            f"{list(source.input_shape)}; use the data set it was built on"
        )
    part = source.part(order.split, order.count)
    used = None
    if info.was_made_on(source, offered_as=source.name):
        used = tuple(str(index) for split in USED_IN_BUILDING for index in source.parts[split])
    attacker, validation = points_of_others(source)
    return Evaluation(
        target=target,
        base=target.base,
        inputs=part.inputs,
        labels=part.labels,
        threat=order.threats(info.input_shape),
        suite=order.suite,
        mode=order.mode,
        datatype=order.datatype,
        seed=order.seed,
        calibration_digests=() if info.calibration_digest is None else (info.calibration_digest,),
        data=DataDescription(source.name, order.split, source.encoding, tuple(map(str, part.ids)), used),
        block=BLOCK,
        device=device,
        attacker=attacker,
        validation=validation,
        calibration=calibration_of(source, target.generation),
        draws=order.draws,
        examples_folder=here.examples,
    )


def _dataset_name(order: Order, info: ModelInfo) -> str:
    """Return the data set that was ordered, or the one the ensemble was built on, where its name finds it."""
    if order.dataset is not None:
        return order.dataset
    if info.dataset not in datasets.known():
        raise InputError(
            f"data set: expected the path of the one ensemble {order.target} was built on, since its record says "
            f"{info.dataset!r} only, got none; pass --dataset npz:PATH or --dataset folder:PATH"
        )
    return info.dataset


def report_folder(settings: Settings, target: str) -> Path:
    """Return where the report of an ensemble goes when no folder is named."""
    return settings.data / "reports" / target
