"""Images for figures 10 and 11, cut as the official notebooks cut CIFAR-10, in [-.5, .5]."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ensemble.errors import InputError

#: Shares of the 50000 train images: trained on, evaluated on (as published), calibrated on.
CUTS = (45_800 / 50_000, 46_800 / 50_000)
#: Reads images [start, stop): pixels `[n channel height width]` in [0, 1] and labels `[n]`.
Reader = Callable[[int, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Labelled images in [-.5, .5].

    Attributes:
        pixels: `[n channel height width]` float32.
        labels: `[n]` int64.
    """

    pixels: Tensor
    labels: Tensor

    def first(self, n: int) -> "Images":
        """Return the first `n` images, or all where there are fewer."""
        return Images(self.pixels[:n], self.labels[:n])


@dataclass(frozen=True, slots=True, eq=False)
class PaperData:
    """What figures 10 and 11 need.

    Attributes:
        name: what the data are, as every page must call them.
        train: images the networks are trained on.
        held: train images that were not trained on, which the official notebooks evaluate on.
        calibration: the last train images.
        test: the test split, which the corrected track evaluates on.
        comparable: whether official numbers, which are about CIFAR-10, may be judged against these.
    """

    name: str
    train: Images
    held: Images
    calibration: Images
    test: Images
    comparable: bool = True

    def judge(self, word: str) -> str:
        """Return a verdict against an official number, or why there is none."""
        return word if self.comparable else "other data: not comparable"


def cut(name: str, train: Reader, test: Reader, sizes: tuple[int, int], *, limit: int, comparable: bool) -> PaperData:
    """Return the parts of a data set in the official proportions; only what is needed is read.

    Args:
        name: what the data are.
        train: reads images [start, stop) of the train split in its published order.
        test: the same for the test split.
        sizes: how many images the two splits have.
        limit: read at most so many images to train on, and to judge on.
        comparable: whether this is CIFAR-10, whatever its encoding.

    Raises:
        InputError: the splits are too small, or pixels are not in [0, 1].
    """
    if min(sizes) < 50:
        raise InputError(f"{name}: expected at least 50 images in each split, got {sizes}; use a larger data set")
    first, second = (round(sizes[0] * share) for share in CUTS)
    parts = (
        train(0, min(first, limit)),
        train(first, min(second, first + limit)),
        train(second, sizes[0]),
        test(0, min(sizes[1], limit)),
    )
    for pixels, _ in parts:
        if pixels.ndim != 4 or float(pixels.min()) < 0 or float(pixels.max()) > 1:
            raise InputError(
                f"{name}: expected images [n channel height width] with values in [0, 1], got {list(pixels.shape)} "
                f"in [{float(pixels.min()):g}, {float(pixels.max()):g}]; scale the data"
            )
    trained, held, calibration, judged = (Images(pixels - 0.5, labels) for pixels, labels in parts)
    return PaperData(name, trained, held, calibration, judged, comparable)
