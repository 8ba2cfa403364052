"""The five parts of a data set: a permutation fixed in code, cut at fixed shares.

    train         weights are trained on it, where we train
    calibration   the data-dependent action is fitted on it; its labels are never used
    attacker      an attacker's own sample
    validation    baselines are matched on it
    test          accuracy is judged on it

The permutation comes from numpy's legacy Mersenne Twister, whose stream numpy has frozen for good, so a part holds the
same images on every machine and version.
"""

from collections.abc import Mapping

import numpy as np

from ensemble.errors import InputError
from service.catalogue.datasets.values import Indices

SEED = 20230501
SHARES: Mapping[str, float] = {"train": 0.40, "calibration": 0.22, "attacker": 0.14, "validation": 0.07, "test": 0.17}
WITHIN_TRAINING: Mapping[str, float] = {"train": 0.80, "calibration": 0.08, "attacker": 0.08, "validation": 0.04}
FEWEST = 50


def split_whole(count: int) -> dict[str, Indices]:
    """Return the five parts of `count` images that come without a published test set.

    Raises:
        InputError: fewer than 50 images.
    """
    return _cut(np.arange(count, dtype=np.int64), SHARES)


def split_published(training: int, test: int) -> dict[str, Indices]:
    """Return the five parts of a data set with a published test set, images numbered training first, then test.

    The part `test` holds published test images only, the other four share the published training images.

    Raises:
        InputError: fewer than 50 training images or no test image.
    """
    if test < 1:
        raise InputError(f"data set: expected a published test set, got {test} images; supply test images")
    parts = _cut(np.arange(training, dtype=np.int64), WITHIN_TRAINING)
    order = np.random.RandomState(SEED).permutation(test)
    return {**parts, "test": training + order.astype(np.int64)}


def _cut(numbers: Indices, shares: Mapping[str, float]) -> dict[str, Indices]:
    """Return the shuffled numbers cut into consecutive pieces; the last piece takes what rounding leaves."""
    if len(numbers) < FEWEST:
        raise InputError(
            f"data set: expected at least {FEWEST} images to cut into parts, got {len(numbers)}; supply more images"
        )
    shuffled = numbers[np.random.RandomState(SEED).permutation(len(numbers))]
    ends = np.floor(np.cumsum(list(shares.values())) * len(numbers) + 1e-9).astype(int)
    ends[-1] = len(numbers)
    pieces = np.split(shuffled, ends[:-1])
    return dict(zip(shares, pieces, strict=True))
