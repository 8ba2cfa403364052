r"""Watch conserved quantities in any training loop, and see when its step size breaks the gradient-flow picture.

One step of plain gradient descent changes a quadratic quantity by exactly its value on the step, `Q(theta') - Q(theta)
= Q(theta' - theta)`, whatever the step size, the mini-batch and the loss. The monitor compares both sides, so it
can tell the two causes of drift apart without knowing the optimiser: finite steps, or updates that are no gradient
steps at all (momentum, weight decay, adaptive methods). Derived here; docs/mathematics.md, section 12.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ensemble.errors import InputError
from ensemble.flow.law import BATCH_STATISTICS, Law
from ensemble.flow.laws import laws


@dataclass(frozen=True, slots=True)
class SiteDrift:
    """How far one law has drifted since the monitor was made.

    Attributes:
        name: where it holds.
        condition: what else it depends on.
        drift: largest |Q - Q(start)|, relative to the largest size at the start.
        from_steps: the part that finite steps of plain gradient descent explain; None for laws that are not quadratic.
        from_updates: the rest: updates that are no gradient steps; None for laws that are not quadratic.
    """

    name: str
    condition: str
    drift: float
    from_steps: float | None
    from_updates: float | None


class ConservationMonitor:
    """Two lines in a training loop: make it before, `update()` after every optimiser step.

    Args:
        network: the network that is trained; it is only read.
        example_input: `[batch ...]`, as for `laws`.
        tolerance: relative drift up to which training still follows gradient flow.

    Raises:
        InputError: nothing that is trained is conserved.
        TraceError: torch.fx cannot follow the forward.

    Examples:
        >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> monitor = ConservationMonitor(mlp, torch.zeros(1, 4))
        >>> monitor.update()
        {'0 -> 2': 0.0}
    """

    def __init__(self, network: nn.Module, example_input: Tensor, *, tolerance: float = 0.01) -> None:
        self.tolerance = tolerance
        self._network = network
        trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
        holding = [law for law in laws(network, example_input) if network.training or law.condition != BATCH_STATISTICS]
        self._laws = tuple(law for law in holding if set(law.parameters) <= trained)
        if not self._laws:
            raise InputError("expected trained parameters at a conserved site, got frozen ones; unfreeze the network")
        self._start = self._values()
        self._sizes = [float(law.size(_read(network, law)).max()) for law in self._laws]
        self._before = [_read(network, law) for law in self._laws]
        self._explained = [torch.zeros_like(value) for value in self._start]

    @torch.no_grad()
    def update(self) -> dict[str, float]:
        """Return the relative drift so far, per site; call it after every optimiser step."""
        for index, law in enumerate(self._laws):
            now = _read(self._network, law)
            if law.quadratic:
                before = self._before[index]
                self._explained[index] += law.quantity({name: now[name] - before[name] for name in now})
            self._before[index] = now
        return {report.name: report.drift for report in self.report()}

    @torch.no_grad()
    def report(self) -> tuple[SiteDrift, ...]:
        """Return the drift of every law up to the last update, with its causes."""
        rows = []
        for index, law in enumerate(self._laws):
            total = law.quantity(self._before[index]) - self._start[index]
            size = max(self._sizes[index], torch.finfo(total.dtype).tiny)
            steps = self._explained[index] if law.quadratic else None
            rows.append(
                SiteDrift(
                    name=law.name,
                    condition=law.condition,
                    drift=_largest(total) / size,
                    from_steps=None if steps is None else _largest(steps) / size,
                    from_updates=None if steps is None else _largest(total - steps) / size,
                )
            )
        return tuple(rows)

    @property
    def broken(self) -> tuple[str, ...]:
        """Return the sites where finite steps alone moved Q beyond the tolerance: too large a step size for flow."""
        return tuple(
            row.name
            for row in self.report()
            if (row.drift if row.from_steps is None else row.from_steps) > self.tolerance
        )

    def _values(self) -> list[Tensor]:
        with torch.no_grad():
            return [law.quantity(_read(self._network, law)) for law in self._laws]


def _read(network: nn.Module, law: Law) -> dict[str, Tensor]:
    return {name: network.get_parameter(name).detach().clone() for name in law.parameters}


def _largest(values: Tensor) -> float:
    return float(values.abs().max())
