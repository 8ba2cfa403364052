"""Tracing replaces `nn.Module.__call__` for the whole process: networks of other threads must not notice.

Seen to fail when: a thread's call reaches the tracer of another thread; a thread's parameter is read through it; two
networks are traced at once.
"""

import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ensemble.graph import trace


class Waiting(nn.Module):
    """A classifier that does something while it is traced."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.meanwhile = meanwhile

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits."""
        if isinstance(inputs, torch.fx.Proxy):
            self.meanwhile()
        logits: Tensor = self.linear(inputs)
        return logits


class Scaled(nn.Module):
    """A network with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 2.0))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `scale * inputs`."""
        return self.scale * inputs


def elsewhere(work: Callable[[], object]) -> object:
    """Return what `work` gives in another thread, or the exception it raised there."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    return found[0]


def test_networks_of_other_threads_run_while_one_is_traced() -> None:
    """A service answers while it loads another model: calls and parameters are those of the running network."""
    seen: list[object] = []
    running = nn.Sequential(Scaled(), nn.ReLU())
    other = Waiting(lambda: seen.append(elsewhere(lambda: running(torch.ones(1, 3)).tolist()))).eval()
    traced = trace(other, torch.zeros(1, 3))
    assert seen == [[[2.0, 2.0, 2.0]]]
    assert [node.op for node in traced.nodes] == ["placeholder", "call_module", "output"]


def test_two_networks_traced_at_once() -> None:
    """The second waits for the first, and modules are called as before afterwards."""
    before = (nn.Module.__call__, nn.Module.__getattr__)
    second = threading.Thread(target=lambda: trace(nn.Linear(3, 2).eval(), torch.zeros(1, 3)))
    waited: list[bool] = []

    def begin_another() -> None:
        second.start()
        second.join(0.3)
        waited.append(second.is_alive())

    trace(Waiting(begin_another).eval(), torch.zeros(1, 3))
    second.join(20)
    assert (waited, second.is_alive()) == ([True], False)
    assert (nn.Module.__call__, nn.Module.__getattr__) == before
