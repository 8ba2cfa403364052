"""Parts are disjoint, complete and fixed for ever.

Mutations seen to turn a test red: another seed (golden digests); two overlapping cuts; test images drawn from the
training numbers; a permutation from numpy's new generators (golden digests).
"""

import json
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.errors import InputError
from service.catalogue.datasets import splits

NAMES = {"train", "calibration", "attacker", "validation", "test"}


@given(count=st.integers(50, 3000))
def test_parts_of_a_whole_are_disjoint_and_complete(count: int) -> None:
    """Every image lies in exactly one of the five parts, whatever the number of images."""
    parts = splits.split_whole(count)
    assert set(parts) == NAMES
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(count))
    assert all(len(part) > 0 for part in parts.values())


@given(training=st.integers(50, 2000), test=st.integers(1, 500))
def test_published_test_images_are_the_test_part_and_nothing_else(training: int, test: int) -> None:
    """The published test set is the part `test`; the other four share the training images."""
    parts = splits.split_published(training, test)
    assert sorted(parts["test"].tolist()) == list(range(training, training + test))
    others = np.concatenate([parts[name] for name in NAMES - {"test"}])
    assert sorted(others.tolist()) == list(range(training))


def test_the_permutation_never_changes() -> None:
    """Golden digests: stored ensembles and reports refer to these very images."""
    digest = {
        name: sha256(json.dumps([part.tolist() for part in parts.values()]).encode()).hexdigest()[:16]
        for name, parts in (("whole", splits.split_whole(1797)), ("published", splits.split_published(6000, 1000)))
    }
    assert digest == {"whole": "db1975a1c9b05110", "published": "2a9a665907da8401"}


def test_shares_add_up_to_one() -> None:
    """Neither table loses or doubles images."""
    assert sum(splits.SHARES.values()) == pytest.approx(1)
    assert sum(splits.WITHIN_TRAINING.values()) == pytest.approx(1)


@pytest.mark.parametrize("count", [0, 49])
def test_too_few_images_are_refused(count: int) -> None:
    """Below fifty images a part could be empty: the message says how many are needed."""
    with pytest.raises(InputError, match="at least 50 images"):
        splits.split_whole(count)


def test_a_published_set_without_test_images_is_refused() -> None:
    """A data set that claims a published test set must have one."""
    with pytest.raises(InputError, match="published test set"):
        splits.split_published(100, 0)
