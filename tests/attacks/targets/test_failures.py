"""What breaks in the middle of a block is an error that says what, where and what next; nothing is made smaller.

Seen to fail with: half the block replaced by the block itself; memory errors passed off as failures of the network; the
translation left out of the verdict; a `LevelsetError` wrapped a second time.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attacks.targets import ModelFailure, NetworkModel, OutOfMemory, fits_in_memory, wrap
from ensemble.errors import LevelsetError

BOX = (0.0, 1.0)


class Fragile(nn.Module):
    """A classifier that does something else when a value exceeds one half."""

    def __init__(self, breaks: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.breaks = breaks
        self.train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return two logits, unless the batch holds a bright value."""
        if bool((inputs > 0.5).any()):
            return self.breaks(inputs)
        return torch.stack([inputs.mean((1, 2, 3)), inputs.amax((1, 2, 3))], 1)


def too_much(inputs: Tensor) -> Tensor:
    """Ask the CPU for four petabytes."""
    return torch.empty(2**50)[: len(inputs)]


def broken(inputs: Tensor) -> Tensor:
    """Raise what torch raises for a wrong shape."""
    return inputs @ torch.zeros(7, 7)


def fragile(breaks: Callable[[Tensor], Tensor]) -> NetworkModel:
    """Return a wrapped network that passes its gate and breaks later."""
    return wrap(Fragile(breaks), bounds=BOX, example=torch.zeros(2, 1, 3, 3), role="target")


BRIGHT = torch.ones(6, 1, 3, 3)


def test_out_of_memory_while_judging_names_half_the_block() -> None:
    """A real allocation of the CPU's allocator fails; the message says which block size to try."""
    with pytest.raises(OutOfMemory, match=r"judging with target: .*block of 6 points.*block=3") as caught:
        fragile(too_much).answers(BRIGHT)
    assert (caught.value.points, caught.value.fitting) == (6, 3)
    assert isinstance(caught.value, LevelsetError)


def test_out_of_memory_while_crafting_names_the_caller_s_block() -> None:
    """Whatever the batch inside was, the block is the one the caller cuts; five copies of a point are one point."""
    model = fragile(too_much)
    with pytest.raises(OutOfMemory, match=r"pgd, points 0 to 5: .*block=3"), fits_in_memory("pgd, points 0 to 5", 6):
        model(BRIGHT.repeat(5, 1, 1, 1))


def test_out_of_memory_in_a_backward_pass_is_caught_too() -> None:
    """The failing allocation need not be in a forward."""
    x = torch.zeros(4, requires_grad=True)
    x.register_hook(too_much)
    with pytest.raises(OutOfMemory, match="block=2"), fits_in_memory("crafting", 4):
        (x * 2).sum().backward()


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"), MemoryError()]
)
def test_the_exceptions_of_devices_are_known(error: Exception) -> None:
    """CUDA's class and Python's own; a block of one point has no smaller one."""
    with pytest.raises(OutOfMemory, match="use a device with more memory") as caught, fits_in_memory("crafting", 1):
        raise error
    assert caught.value.__cause__ is error


def test_other_errors_pass_through_the_memory_gate() -> None:
    """A RuntimeError that is about something else stays what it is."""
    with pytest.raises(RuntimeError, match="shapes"), fits_in_memory("crafting", 4):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.parametrize("ask", [lambda m: m(BRIGHT), lambda m: m.answers(BRIGHT)])
def test_a_network_that_fails_in_the_middle_is_named(ask: Callable[[NetworkModel], Tensor]) -> None:
    """Crafting or judging: who failed, on what, with which error; before that, answers came."""
    model = fragile(broken)
    assert model.answers(torch.zeros(6, 1, 3, 3)).tolist() == [0] * 6
    with pytest.raises(ModelFailure, match=r"target: .*shape \[6, 1, 3, 3\], got RuntimeError: .*mend") as caught:
        ask(model)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_our_own_errors_are_not_wrapped_again() -> None:
    """What the network says in our words is passed on as it is."""

    def refuse(inputs: Tensor) -> Tensor:
        raise LevelsetError("inputs: expected dark ones")

    with pytest.raises(LevelsetError, match="expected dark ones") as caught:
        fragile(refuse)(BRIGHT)
    assert type(caught.value) is LevelsetError
