"""The networks that are stolen, and the images each of them may be tuned and judged on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from attacks.data import LabelledData
from benchmarks.shared_data import cifar10_jpeg, resnet20, soft_resnet20

#: Of the attacker's own sample; the defender's inputs are images 0 and up of the same part.
ATTACKERS_FIRST = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """A trained network and what it may be judged on.

    Attributes:
        name: what the command line calls it.
        network: in eval mode, inputs `[batch channel height width]` in [0, 1].
        independents: networks of the same task, trained from other seeds.
        tuned: whether settings may be chosen on its validation images: not where it has seen them in training.
    """

    name: str
    network: nn.Module
    independents: tuple[nn.Module, ...]
    tuned: bool

    def unlabelled(self, count: int) -> Tensor:
        """Return the defender's inputs `[count ...]`: train images 0 and up."""
        return cifar10_jpeg("train", 0, count)[0]

    def attackers(self, count: int) -> LabelledData:
        """Return the attacker's own sample: train images that the defender does not use."""
        return LabelledData(*cifar10_jpeg("train", ATTACKERS_FIRST, ATTACKERS_FIRST + count))

    def judged(self, part: str, count: int) -> LabelledData:
        """Return the points that are attacked.

        Args:
            part: a key of `PARTS`.
            count: how many.
        """
        split, first = PARTS[part]
        return LabelledData(*cifar10_jpeg(split, first, first + count))

    def fitting(self) -> LabelledData:
        """Return the points that equal-accuracy noise is fitted on: the end of the validation images."""
        return LabelledData(*cifar10_jpeg("train", 49_000, 50_000))


#: Part -> (split, first image). Settings are chosen on `validation`, which the soft networks never saw in training;
#: `final` is used once.
PARTS: Mapping[str, tuple[str, int]] = MappingProxyType({"validation": ("train", 45_000), "final": ("test", 1000)})


def _sharp() -> Base:
    return Base("sharp", resnet20(), (soft_resnet20(1), soft_resnet20(2)), tuned=False)


def _soft1() -> Base:
    return Base("soft1", soft_resnet20(1), (soft_resnet20(2),), tuned=True)


def _soft2() -> Base:
    return Base("soft2", soft_resnet20(2), (soft_resnet20(1),), tuned=True)


#: Name -> what loads it.
BASES: Mapping[str, Callable[[], Base]] = MappingProxyType({"sharp": _sharp, "soft1": _soft1, "soft2": _soft2})
