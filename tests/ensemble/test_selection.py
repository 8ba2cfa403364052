"""Which members are kept.

Seen to fail: the least diverse chosen (argmin); gradients not normalised; the kernel not conditioned on the kept.
"""

from itertools import combinations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import ensemble
from ensemble.errors import InputError
from ensemble.selection import gradient_similarity, most_diverse
from tests.ensemble.cases import generator, images, plain_cnn, randomised


def test_similarity_against_one_gradient_at_a_time() -> None:
    """The matrix is the mean cosine of standalone members' input gradients, 1 on the diagonal."""
    recipe = ensemble.Recipe(search_steps=2, crafting_radii=(0.05,), crafting_steps=1)
    many = ensemble.generate(randomised(plain_cnn()), images(150), members=3, recipe=recipe, rng=generator())
    x = images(10, seed=5)
    directions = []
    for index in range(3):
        member, probe = many.member(index), x.clone().requires_grad_()
        logits = member(probe)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, logits.argmax(1)), probe)
        directions.append(gradient.flatten(1))
    found = gradient_similarity(many, x, chunk=4)
    for a, b in combinations(range(3), 2):
        expected = nn.functional.cosine_similarity(directions[a], directions[b]).mean()
        assert float(found[a, b]) == pytest.approx(float(expected), abs=1e-3)
    assert_close(found.diagonal(), torch.ones(3, dtype=torch.float64), rtol=1e-4, atol=1e-4)


def test_duplicates_are_left_out() -> None:
    """Of two equal members one is kept, and orthogonal ones are preferred to near copies."""
    vectors = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0.99, 0.14, 0], [0, 1, 0], [0, 0.6, 0.8]], dtype=torch.float64)
    kernel = vectors @ vectors.T
    assert most_diverse(kernel, 3) == (0, 3, 4)
    best = max(combinations(range(5), 3), key=lambda chosen: float(torch.det(kernel[list(chosen)][:, list(chosen)])))
    assert best == (0, 3, 4)
    assert most_diverse(kernel, 5) == (0, 1, 2, 3, 4)
    with pytest.raises(InputError, match="1 to 5"):
        most_diverse(kernel, 6)
