"""Images for figures 10 and 11, cut as the official notebooks cut CIFAR-10, in [-.5, .5]."""

from dataclasses import dataclass

from torch import Tensor

from ensemble.errors import InputError

#: Shares of the 50000 train images: trained on, evaluated on (as published), calibrated on.
CUTS = (45_800 / 50_000, 46_800 / 50_000)


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


def cut(name: str, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, comparable: bool = True) -> PaperData:
    """Return the parts of a data set in the official proportions.

    Args:
        name: what the data are.
        train: pixels `[n channel height width]` in [0, 1] and labels `[n]` of the train split, in the published order.
        test: the same of the test split.
        comparable: whether this is CIFAR-10, whatever its encoding.

    Raises:
        InputError: the pixels are not in [0, 1], or are too few.
    """
    for pixels, _ in (train, test):
        if pixels.ndim != 4 or len(pixels) < 50 or float(pixels.min()) < 0 or float(pixels.max()) > 1:
            raise InputError(
                f"{name}: expected at least 50 images [n channel height width] with values in [0, 1], got "
                f"{list(pixels.shape)} in [{float(pixels.min()):g}, {float(pixels.max()):g}]; scale or check the data"
            )
    first, second = (round(len(train[0]) * share) for share in CUTS)
    pixels, labels = train[0] - 0.5, train[1]
    return PaperData(
        name,
        Images(pixels[:first], labels[:first]),
        Images(pixels[first:second], labels[first:second]),
        Images(pixels[second:], labels[second:]),
        Images(test[0] - 0.5, test[1]),
        comparable,
    )
