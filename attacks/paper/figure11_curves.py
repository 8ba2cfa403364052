"""What is run for figure 11: accuracies of base, ensembles and controls under the attacks of both tracks."""

from collections.abc import Callable

import torch
from torch import Tensor

from attacks.paper.crafting import BOUNDS, Ball, Objective, fgsm_as_published, pgd, pgd_as_published
from attacks.paper.data import Images
from attacks.paper.members import CONTROLS, Members, answers, draw, mean_softmax, member_logits, scrambled
from attacks.paper.networks import HIDDEN, Loss, Networks, cross_entropy, softmax_twice
from attacks.paper.settings import SPLIT, Settings, accuracy, features

SCALE = 10.0
MILD_SCALE = 0.3
EPSILONS = (0.0, 0.003, 0.006, 0.009, 0.012)
ITERATIONS = (0, 1, 2, 3)
Curves = dict[str, Tensor]  # name -> accuracies [strength seed]


def _objective(networks: Networks, labels: Tensor, loss: Loss) -> Objective:
    return lambda pixels: loss(networks.logits(pixels), labels)


def _attacked(networks: Networks, images: Images, attack: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return attacked images, each network its own, `[net image channel height width]`; crafted in chunks.

    Args:
        networks: whom the images are for.
        images: clean images.
        attack: (images per network, labels) -> attacked images per network.
    """
    chunks = zip(images.pixels.split(250), images.labels.split(250), strict=True)
    return torch.cat([attack(x.expand(len(networks), *x.shape), y).detach() for x, y in chunks], dim=1)


@torch.no_grad()
def _seen(networks: Networks, pixels: Tensor) -> Tensor:
    """Return pre-activations `[net image hidden]` of images of each network's own."""
    return torch.cat([networks.pre_activations(chunk) for chunk in pixels.split(250, dim=1)], dim=1)


def _judged(networks: Networks, z: Tensor, labels: Tensor, ensembles: dict[str, Members]) -> dict[str, Tensor]:
    """Return the accuracy `[net]` of the base and of each ensemble on pre-activations."""
    found = {"original": accuracy(networks.read_out(z).argmax(dim=2), labels)}
    return found | {name: accuracy(answers(networks, members, z), labels) for name, members in ensembles.items()}


def _collected(rows: list[dict[str, Tensor]]) -> Curves:
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def published_curves(
    networks: Networks, calibration: Images, held: Images, settings: Settings
) -> tuple[Curves, Curves]:
    """Return accuracies under FGSM and PGD as published, `[strength seed]` per network and control."""
    source = features(networks, calibration.pixels)
    group = draw(networks, source, scale=SCALE, count=settings.members, batch=HIDDEN, seed=SPLIT)
    ensembles = {"group": group}
    ensembles |= {name: control(group, scale=SCALE, seed=SPLIT + 1) for name, control in CONTROLS}

    def fgsm_row(epsilon: float) -> dict[str, Tensor]:
        attacked = _attacked(networks, held, lambda x, y: fgsm_as_published(_loss(y), x, epsilon))
        return _judged(networks, _seen(networks, attacked), held.labels, ensembles)

    def pgd_row(iterations: int) -> dict[str, Tensor]:
        attacked = _attacked(networks, held, lambda x, y: pgd_as_published(_loss(y), x, iterations, seed=SPLIT))
        return _judged(networks, _seen(networks, attacked), held.labels, ensembles)

    def _loss(labels: Tensor) -> Objective:
        return _objective(networks, labels, softmax_twice)

    return _collected([fgsm_row(e) for e in EPSILONS]), _collected([pgd_row(i) for i in ITERATIONS])


class Corrected:
    """The corrected track: what is judged, crafted on the base and on the ensembles."""

    def __init__(self, networks: Networks, calibration: Images, test: Images, settings: Settings) -> None:
        self.networks, self.test, self.settings = networks, test, settings
        source = features(networks, calibration.pixels)
        fitted = draw(networks, source, scale=MILD_SCALE, count=settings.members, batch=64 * HIDDEN, seed=SPLIT)
        self.ensembles = {
            f"k = h, scale {SCALE:g}": draw(
                networks, source, scale=SCALE, count=settings.members, batch=HIDDEN, seed=SPLIT
            ),
            f"k = 64 h, scale {MILD_SCALE:g}": fitted,
            "scrambled": scrambled(fitted, scale=MILD_SCALE, seed=SPLIT),
        }

    def transfer(self) -> Curves:
        """Return accuracies `[epsilon seed]` under PGD crafted on the base, with the controls."""
        return _collected([self._transfer(epsilon) for epsilon in EPSILONS])

    def _transfer(self, epsilon: float) -> dict[str, Tensor]:
        networks, test = self.networks, self.test
        steps = self.settings.steps if epsilon > 0 else 0

        def attack(x: Tensor, y: Tensor) -> Tensor:
            return pgd(_objective(networks, y, cross_entropy), x, epsilon, steps, SPLIT)

        def noise(x: Tensor, y: Tensor) -> Tensor:
            return Ball(x, epsilon, BOUNDS).corners(torch.Generator().manual_seed(SPLIT))

        attacked = _attacked(networks, test, attack)
        found = _judged(networks, _seen(networks, attacked), test.labels, self.ensembles)
        noisy = networks.read_out(_seen(networks, _attacked(networks, test, noise)))
        found["base, noise of equal size"] = accuracy(noisy.argmax(dim=2), test.labels)
        found["independent networks"] = self._independent(attacked)
        return found

    @torch.no_grad()
    def _independent(self, attacked: Tensor) -> Tensor:
        """Return the accuracy `[net]` of the mean of all other seeds' networks on what was crafted on each base."""
        rows = []
        for i, pixels in enumerate(attacked):
            others = [j for j in range(len(self.networks)) if j != i]
            probabilities = self.networks.read_out(features(self.networks, pixels)).softmax(dim=2)
            rows.append(probabilities[others].mean(dim=0).argmax(dim=1))
        return accuracy(torch.stack(rows), self.test.labels)

    def white_box(self) -> Curves:
        """Return accuracies `[epsilon seed]` under PGD crafted on each ensemble's own mean probability."""
        images, count = self.settings.white_box
        test = self.test.first(images)
        curves = {}
        targets: dict[str, Members | None] = {"original": None}
        targets |= {name: members.first(count) for name, members in list(self.ensembles.items())[:2]}
        for name, members in targets.items():
            curves[name] = torch.stack([self._white_box(test, members, epsilon) for epsilon in EPSILONS])
        return curves

    def _white_box(self, test: Images, members: Members | None, epsilon: float) -> Tensor:
        def served(pixels: Tensor) -> Tensor:
            z = self.networks.pre_activations(pixels)
            if members is None:
                return self.networks.read_out(z)
            logits = member_logits(self.networks, members, z)
            return torch.log(mean_softmax(logits).clamp_min(1e-30))

        steps = self.settings.steps if epsilon > 0 else 0
        right = []
        for pixels, labels in zip(test.pixels.split(100), test.labels.split(100), strict=True):
            attacked = pgd(
                lambda x, y=labels: cross_entropy(served(x), y),  # type: ignore[misc]
                pixels.expand(len(self.networks), *pixels.shape), epsilon, steps, SPLIT,
            )  # fmt: skip
            with torch.no_grad():
                right.append(served(attacked).argmax(dim=2) == labels)
        return torch.cat(right, dim=1).double().mean(dim=1)
