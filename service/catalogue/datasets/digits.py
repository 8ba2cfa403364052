"""scikit-learn's handwritten digits: 1797 grey images of 8x8 pixels that ship inside the package."""

import numpy as np
from sklearn.datasets import load_digits

from service.catalogue.datasets.splits import split_whole
from service.catalogue.datasets.values import ArraySource, DataSet

LEVELS = 16  # pixels are counts of set bits in a 4x4 block


def digits() -> DataSet:
    """Return the digits data set, inputs `[n 1 8 8]`; needs neither a file nor the network."""
    bunch = load_digits()
    pixels = (bunch.images / LEVELS).astype(np.float32)[:, None]
    return DataSet(
        name="digits",
        encoding="lossless",
        num_classes=10,
        class_names=tuple(str(digit) for digit in range(10)),
        input_shape=(1, 8, 8),
        source=ArraySource(pixels),
        labels=bunch.target.astype(np.int64),
        parts=split_whole(len(pixels)),
    )
