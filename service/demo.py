"""The demo: train, build, serve, ask, attack, report - every step real, on scikit-learn's digits."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

import ensemble
from attacks import EvaluationReport
from ensemble import Progress
from ensemble.architectures import Architecture
from ensemble.errors import InputError
from service.catalogue import architectures, building, datasets
from service.catalogue.datasets import DataSet, Part
from service.catalogue.model_info import ModelInfo
from service.catalogue.repository import ModelRepository
from service.cli.client import ServiceClient
from service.cli.console import notices, progress_bar, results
from service.cli.evaluating import Order
from service.cli.process import running_service
from service.cli.report_files import show_report, write_report
from service.settings import Settings

MODEL = "digits"
KEY = "digits-cnn"
MEMBERS = 8
EPOCHS = 30
BATCH = 64
RATE = 0.01
EVALUATED = 200  # test images the evaluation job judges
REQUEST = 16  # images in one inference request

Report = Callable[[Any], None]


def build_digits(settings: Settings, *, seed: int = 0) -> ModelInfo:
    """Return the record of the ensemble `digits`, trained and built first where the repository lacks it.

    Args:
        settings: names the data folder.
        seed: of the weights and of the members.

    Raises:
        InputError: the repository holds a `digits` that takes other inputs.
        ArtifactError: the data folder cannot be written.
    """
    repository = ModelRepository(settings.models_folder)
    if MODEL in repository.names():
        return _existing(repository)
    source = datasets.load(MODEL)
    order = building.Order(name=MODEL, members=MEMBERS, recipe=ensemble.presets["balanced"], seed=seed)
    with one_thread():
        with progress_bar(f"training {KEY}") as progress:
            network = train(architectures.build(KEY), source.part("train"), seed=seed, progress=progress)
        base = building.TrainedNetwork(network, Architecture(KEY, {"num_classes": source.num_classes}))
        with progress_bar(f"building {MEMBERS} members") as progress:
            info = building.build(base, source, order, repository, progress=progress)
    _keep_weights(network, settings.data / "weights" / f"{KEY}.safetensors")
    return info


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block on one torch thread: as fast for 8x8 images, and the same bits whatever the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(network: nn.Module, part: Part, *, seed: int, progress: Report) -> nn.Module:
    """Return `network` trained on a part with Adam and a falling rate, in eval mode; the same seed, the same weights.

    Args:
        network: untrained; its parameters are drawn again from the seed.
        part: labelled images.
        seed: of the weights and of the order of the images.
        progress: called after each epoch.
    """
    rng = torch.Generator().manual_seed(seed)
    _draw_weights(network, rng)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    network.train()
    for epoch in range(EPOCHS):
        for chosen in _batches(len(part.labels), rng):
            optimiser.zero_grad()
            functional.cross_entropy(network(part.inputs[chosen]), part.labels[chosen]).backward()
            optimiser.step()
        schedule.step()
        progress(Progress(epoch + 1, EPOCHS, f"epoch {epoch + 1}"))
    return network.eval()


def serve_and_evaluate(settings: Settings, *, seed: int = 0) -> Path:
    """Return the HTML report of an evaluation job that a real service ran; prints the table and the path.

    Args:
        settings: names the data folder; its port should be 0, a free one.
        seed: of the evaluation.

    Raises:
        ServiceFailure: the service does not start, or the job fails.
    """
    source = datasets.load(MODEL)
    with ExitStack() as stack:
        with notices().status("starting the service"):
            client = stack.enter_context(ServiceClient(stack.enter_context(running_service(settings))))
        answers = ask(client, source)
        report = _evaluate(client, source, seed)
    files = write_report(report, settings.data / "reports" / MODEL)
    console = results()
    console.print(f"{answers.images} test images over HTTP: {100 * answers.right:.1f} % right, ", end="")
    console.print(f"{100 * answers.disagreement:.2f} % of member pairs disagree")
    show_report(console, report, files)
    return files.html


@dataclass(frozen=True, slots=True)
class Answers:
    """What the served ensemble said about the test images.

    Attributes:
        images: how many were sent.
        right: share answered with the true label.
        disagreement: mean share of member pairs with different labels.
    """

    images: int
    right: float
    disagreement: float


def ask(client: ServiceClient, source: DataSet) -> Answers:
    """Return what the served ensemble answers for the test images, sent in small requests."""
    part = source.part("test", EVALUATED)
    labels: list[int] = []
    disagreement: list[float] = []
    with progress_bar("asking the ensemble") as progress:
        for start in range(0, len(part.labels), REQUEST):
            inputs = part.inputs[start : start + REQUEST].tolist()
            answer = client.infer(MODEL, inputs, outputs=("labels", "disagreement"))
            labels += answer["labels"]
            disagreement += answer["disagreement"]
            progress(Progress(len(labels), len(part.labels), "images"))
    right = float((torch.tensor(labels) == part.labels).double().mean())
    return Answers(len(labels), right, sum(disagreement) / len(disagreement))


def _evaluate(client: ServiceClient, source: DataSet, seed: int) -> EvaluationReport:
    order = Order(target=MODEL, dataset=MODEL, count=EVALUATED, seed=seed)
    with progress_bar("attacking it in a job") as progress:
        job = client.wait(client.submit(order.job(MODEL, source.input_shape)), progress=progress)
        return EvaluationReport.from_json(client.report(job["report_id"], "json"))


def _existing(repository: ModelRepository) -> ModelInfo:
    info = repository.info(MODEL)
    if info.architecture != KEY:
        raise InputError(
            f"demo: expected ensemble {MODEL!r} to have the architecture {KEY}, got {info.architecture}; it is yours, "
            "so name another folder with --data"
        )
    notices().print(f"ensemble {MODEL} version {info.version} is there already", markup=False)
    return info


def _batches(count: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Yield shuffled batches; a last smaller one is left out, since batch statistics need company."""
    order = torch.randperm(count, generator=rng)
    for start in range(0, count - BATCH + 1, BATCH):
        yield order[start : start + BATCH]


def _draw_weights(network: nn.Module, rng: torch.Generator) -> None:
    """Draw convolution and linear weights from `rng` (He et al. 2015) and zero their biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _keep_weights(network: nn.Module, path: Path) -> None:
    """Store the base's weights where `levelset build --weights` can read them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    save_file(network.state_dict(), draft)
    draft.replace(path)
