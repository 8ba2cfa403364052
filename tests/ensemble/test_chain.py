"""The action on several layers at once.

Seen to fail: biases not multiplied; pi computed from the changed chain's pre-activations with the default prior; pi of
the wrong layer; the output action not inverted in the exact form.
"""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ensemble.action import minimum_norm_action
from ensemble.activations import LEAKY_RELU, SQUARE, TANH, Activation
from ensemble.chain import Chain, act_on_chain, exact_chain
from ensemble.errors import CalibrationError, InputError
from ensemble.groups import GeneralLinear
from tests.ensemble.cases import generator

SIZES = (4, 7, 6, 8, 3)


def _chain(rng: torch.Generator, activation: Activation = LEAKY_RELU) -> Chain:
    weights = tuple(
        torch.randn(out, inp, generator=rng, dtype=torch.float64) / inp**0.5 for inp, out in itertools.pairwise(SIZES)
    )
    biases = tuple(torch.randn(out, generator=rng, dtype=torch.float64) for out in SIZES[1:])
    return Chain(weights, biases, activation.function)


def _elements(rng: torch.Generator) -> list[Tensor]:
    return [GeneralLinear().sample(size, scale=0.4, rng=rng).matrix for size in SIZES[1:-1]]


@given(seed=st.integers(0, 2**31), samples=st.integers(1, 4))
def test_all_layers_at_once_are_exact_on_the_batch(seed: int, samples: int) -> None:
    """On the batch outputs stay; so does every pre-activation, up to its own g; off the batch they change."""
    rng = generator(seed)
    chain, elements = _chain(rng), _elements(rng)
    X, other = (torch.randn(4, count, generator=rng, dtype=torch.float64) for count in (samples, 5))
    for action in (None, minimum_norm_action):
        acted = act_on_chain(chain, elements, X) if action is None else act_on_chain(chain, elements, X, action)
        pre, expected = acted.preactivations(X), chain.preactivations(X)
        for index, g in enumerate(elements):
            assert_close(pre[index], g @ expected[index], rtol=1e-5, atol=1e-6)
        assert_close(pre[-1], expected[-1], rtol=1e-5, atol=1e-6)
        assert float((acted(other) - chain(other)).abs().max()) > 1e-6


def test_acting_twice_is_acting_with_the_product() -> None:
    """With the completed basis the action on the whole chain composes: g2 after g1 is g2 g1."""
    rng = generator(3)
    chain, first, second = _chain(rng), _elements(rng), _elements(rng)
    X = torch.randn(4, 3, generator=rng, dtype=torch.float64)
    twice = act_on_chain(act_on_chain(chain, first, X), second, X)
    once = act_on_chain(chain, [b @ a for a, b in zip(first, second, strict=True)], X)
    for left, right in zip((*twice.weights, *twice.biases), (*once.weights, *once.biases), strict=True):
        assert_close(left, right, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("activation", [LEAKY_RELU, TANH, SQUARE])
def test_the_exact_form_holds_for_every_input(activation: Activation) -> None:
    """Elements of each layer's exact group, with their output actions, change nothing anywhere."""
    rng = generator(4)
    chain = _chain(rng, activation)
    elements = [activation.group.sample(size, scale=0.7, rng=rng) for size in SIZES[1:-1]]
    acted = exact_chain(
        chain, [element.matrix for element in elements], [activation.output_action(element) for element in elements]
    )
    X = torch.randn(4, 20, generator=rng, dtype=torch.float64)
    expected = chain(X)
    assert_close(acted(X), expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
    assert float((acted.weights[1] - chain.weights[1]).abs().max()) > 1e-2


def test_wrong_numbers_are_refused() -> None:
    """One element per hidden layer, and no more samples than the narrowest layer has units."""
    rng = generator(5)
    chain, elements = _chain(rng), _elements(rng)
    with pytest.raises(InputError, match="expected 3 group elements"):
        act_on_chain(chain, elements[:2], torch.ones(4, 1, dtype=torch.float64))
    with pytest.raises(CalibrationError, match="at most 6"):
        act_on_chain(chain, elements, torch.randn(4, 7, generator=rng, dtype=torch.float64))
