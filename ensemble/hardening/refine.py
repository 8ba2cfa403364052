"""Label-free consistency refinement: Adam on all weights of a network towards the base's own soft predictions.

This is fine-tuning without labels, and owes nothing to a symmetry. BatchNorm statistics stay the base's.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ensemble.digests import network_digest, tensor_digest, text_digest
from ensemble.errors import CalibrationError
from ensemble.hardening.data import CHUNK, Points, split
from ensemble.hardening.objective import Classifier, Objective, divergence
from ensemble.hardening.report import Check, HardeningReport
from ensemble.hardening.schedule import one_cycle
from ensemble.hardening.settings import Hardening
from ensemble.hardening.state import State, Tensors
from ensemble.hardening.twin import FoldedTwin, folded_twin
from ensemble.progress import Progress, ProgressCallback

#: Ways from the start to the refined weights that `max_clean_drop` tries, in order.
SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(frozen=True, slots=True, eq=False)
class Hardened:
    """A refined network.

    Attributes:
        network: of the class of the network it was made from, in evaluation mode.
        report: what was done.
    """

    network: nn.Module
    report: HardeningReport


def harden(
    network: nn.Module,
    inputs: Tensor,
    *,
    target: nn.Module | None = None,
    settings: Hardening | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    rng: torch.Generator,
    progress: ProgressCallback | None = None,
    checkpoints: Path | None = None,
) -> Hardened:
    """Return a copy of `network` that answers like `target` on the inputs and in a ball around each of them.

    Args:
        network: a classifier in evaluation mode: a base, or a member; it is neither changed nor moved.
        inputs: unlabelled `[n ...]` on the network's device.
        target: network whose soft predictions on the clean inputs are the aim; None for `network` itself.
        settings: None for the defaults.
        bounds: least and largest value of an input.
        rng: CPU generator; the same seed on the same device gives the same bytes, whether or not it was interrupted.
        progress: called after every look at the held-out part.
        checkpoints: a folder; a hardening that was interrupted goes on from there, a finished one is read back.

    Raises:
        InputError: too few inputs, or a network that is not in evaluation mode or elsewhere than its inputs.
        TraceError: torch.fx cannot follow the forward.
        CalibrationError: the weights left the finite numbers, or no share of the way keeps `max_clean_drop`.
        ArtifactError: a damaged checkpoint.
    """
    settings = Hardening() if settings is None else settings
    aim = network if target is None else target
    seed = int(torch.randint(2**62, (1,), generator=rng))
    generator = torch.Generator().manual_seed(seed)
    with _deterministic():
        train, held_out = split(aim, inputs, settings, generator)
        twin = folded_twin(network, inputs)
        key = text_digest(
            [network_digest(network), network_digest(aim), tensor_digest(inputs[: settings.inputs]), settings.to_json(),
             seed, list(bounds), inputs.device.type, torch.__version__]
        )  # fmt: skip
        path = None if checkpoints is None else checkpoints / f"{key}.safetensors"
        work = _Work(
            twin,
            train,
            held_out,
            settings,
            Objective(settings, bounds, _reduced(folded_twin(aim, inputs).network, inputs.device)),
            generator,
            path,
            progress,
        )
        work.run()
        return work.kept()


@dataclass(slots=True, eq=False)
class _Work:
    twin: FoldedTwin
    train: Points
    held_out: Points
    settings: Hardening
    objective: Objective
    rng: torch.Generator
    path: Path | None
    progress: ProgressCallback | None
    state: State = field(init=False)
    scales: dict[str, float] = field(init=False)
    start: Tensors = field(init=False)
    noise: Tensor = field(init=False)
    unit: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        if self.train.inputs.ndim == 4:
            self.twin.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.noise = self._noise(self.held_out.inputs)
        self.unit = self._unit(len(self.held_out.inputs))
        self.scales = self.twin.scales()
        self.start = {name: value.detach().clone() for name, value in self.twin.parameters.items()}
        self.state = State.start(self.start, self.rng.get_state())

    def run(self) -> None:
        """Step until the last step, or until the held-out loss has stopped falling."""
        if self.path is not None and self.path.exists():
            self.state = State.load(self.path, self.start)
            self.rng.set_state(self.state.rng)
            self.twin.write(self.state.parameters)
        began = time.perf_counter() - self.state.seconds
        if not self.state.checks:
            self._look(0.0, began)
        while self.state.step < self.settings.steps and not self.stopped:
            every = self.settings.check_every
            until = min(self.state.step + every - self.state.step % every, self.settings.steps)
            losses = []
            while self.state.step < until:
                losses.append(self._step())
            self._look(float(torch.stack(losses).mean()), began)

    @property
    def stopped(self) -> bool:
        """Return whether as many looks as patience allows came after the best one."""
        losses = [check.loss(self.settings) for check in self.state.checks]
        return len(losses) - 1 - losses.index(min(losses)) >= self.settings.patience

    def _step(self) -> Tensor:
        x, target = self.train.batch(self.settings.batch, self.rng)
        parameters = self.twin.parameters
        with torch.enable_grad():
            network = _reduced(self.twin.network, x.device)
            loss = self.objective.loss(network, x, target, self._noise(x), self._unit(len(x)))
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        rate = self.settings.rate * one_cycle(self.state.step, self.settings.steps)
        self.state.step += 1
        with torch.no_grad():
            for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
                if gradient is not None:
                    self._adam(name, parameter, gradient, rate * self.scales[name])
                if self.settings.average:
                    self.state.average[name].lerp_(parameter, 1 - self.settings.average)
        return loss.detach()

    def _adam(self, name: str, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        first, second = self.state.first[name], self.state.second[name]
        first.lerp_(gradient, 1 - _BETAS[0])
        second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        corrections = [1 - beta**self.state.step for beta in _BETAS]
        root = (second / corrections[1]).sqrt_().add_(_EPSILON)
        parameter.addcdiv_(first, root, value=-rate / corrections[0])

    def _look(self, training_loss: float, began: float) -> None:
        self.state.parameters = {name: value.detach().clone() for name, value in self.twin.parameters.items()}
        candidate = self.state.average if self.settings.average else self.state.parameters
        self.twin.write(candidate)
        check = self._check(training_loss)
        losses = [seen.loss(self.settings) for seen in (*self.state.checks, check)]
        if losses[-1] <= min(losses):
            self.state.best = {name: value.clone() for name, value in candidate.items()}
        self.twin.write(self.state.parameters)
        if not all(bool(torch.isfinite(value).all()) for value in self.state.parameters.values()):
            raise CalibrationError(
                f"hardening: expected finite weights, got NaN or infinity by step {self.state.step}; lower the rate"
            )
        self.state.checks.append(check)
        self.state.rng = self.rng.get_state()
        self.state.seconds = time.perf_counter() - began
        if self.path is not None:
            self.state.save(self.path)
        if self.progress is not None:
            message = f"hardening: divergence {check.divergence:.3f}, attacked {check.adversarial_divergence:.3f}"
            self.progress(Progress(self.state.step, self.settings.steps, message))

    def _check(self, training_loss: float) -> Check:
        differing, clean, attacked, transferred = 0, 0.0, 0.0, 0.0
        points = self.held_out
        for start in range(0, len(points.inputs), CHUNK):
            part = slice(start, start + CHUNK)
            x, target = points.inputs[part], points.targets[part]
            moved = self.objective.attacked(_reduced(self.twin.network, x.device), x, target, self.noise[part])
            if self.unit is not None:
                stolen = self.objective.transferred(x, target, self.unit[part])
                with torch.no_grad():
                    transferred += float(divergence(target, self.twin.network(stolen)).sum())
            with torch.no_grad():
                logits = self.twin.network(x)
                differing += int((logits.argmax(1) != target.argmax(1)).sum())
                clean += float(divergence(target, logits).sum())
                attacked += float(divergence(target, self.twin.network(moved)).sum())
        count = len(points.inputs)
        return Check(
            step=self.state.step,
            training_loss=training_loss,
            clean_drop=differing / count,
            divergence=clean / count,
            adversarial_divergence=attacked / count,
            transfer_divergence=transferred / count,
        )

    def _noise(self, x: Tensor) -> Tensor:
        unit = torch.rand(x.shape, generator=self.rng, dtype=x.dtype) * 2 - 1
        return unit.to(x.device) * self.settings.radius

    def _unit(self, count: int) -> Tensor | None:
        """Return each input's share of the transfer radius; nothing is drawn where transfer attacks have no weight."""
        if not self.settings.transfer_weight:
            return None
        return torch.rand(count, generator=self.rng).to(self.train.inputs)

    def kept(self) -> Hardened:
        """Return the best weights, drawn back towards the start as far as `max_clean_drop` asks."""
        losses = [check.loss(self.settings) for check in self.state.checks]
        share, drop = self._within_bound()
        network = self.twin.standalone()
        report = HardeningReport(
            steps=self.state.step,
            stopped_early=self.state.step < self.settings.steps,
            inputs=len(self.train.inputs),
            held_out=len(self.held_out.inputs),
            checks=tuple(self.state.checks),
            kept_step=self.state.checks[losses.index(min(losses))].step,
            share=share,
            clean_drop=drop,
            trunk_digest=network_digest(network),
            seconds=round(self.state.seconds, 1),
        )
        return Hardened(network, report)

    def _within_bound(self) -> tuple[float, float]:
        bound, drops = self.settings.max_clean_drop, []
        for share in SHARES:
            best = self.state.best
            # Exactly the best weights all the way: start + (best - start) would round.
            mixed = best if share == 1 else {name: own.lerp(best[name], share) for name, own in self.start.items()}
            self.twin.write(mixed)
            drops.append(self._drop())
            if bound is None or drops[-1] <= bound:
                return share, drops[-1]
        raise CalibrationError(
            f"max_clean_drop: expected a refined network within {bound:g} of its target on {len(self.held_out.inputs)} "
            f"held-out inputs, got {min(drops):g} at best; add inputs, take fewer steps or raise the bound"
        )

    def _drop(self) -> float:
        with torch.no_grad():
            labels = torch.cat([self.twin.network(part).argmax(1) for part in self.held_out.inputs.split(CHUNK)])
        return float((labels != self.held_out.targets.argmax(1)).double().mean())


def _reduced(network: nn.Module, device: torch.device) -> Classifier:
    """Return the network as steps run it: in bfloat16 on a GPU, as it is on a CPU; verdicts run the network itself."""
    if device.type != "cuda":
        return network

    def run(x: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            logits: Tensor = network(x)
        return logits.float()

    return run


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Choose cuDNN's repeatable kernels; nothing else changes, and nothing on a CPU."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
        yield
