"""`SymmetryEnsemble`: the untouched base, and many members stored as the parameters of their sites only.

What members share is the trunk: the base itself, or a refined copy of it, stored once.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from ensemble.digests import state_digest
from ensemble.errors import InputError
from ensemble.execution import Plan, Program, StackedLayer, fixed_plan, program
from ensemble.generation import Generation
from ensemble.graph import TracedNetwork, trace
from ensemble.layers import FoldedLayer, LayerRef, fold, like_state_of, unfold
from ensemble.prediction import Prediction, log_mean_probability, predict_from
from ensemble.stopping import Decision, StoppingRule, until_decided

if TYPE_CHECKING:
    from ensemble.architectures import Architecture

MemberLayers = dict[LayerRef, FoldedLayer]


class SymmetryEnsemble(nn.Module):
    """Many members of one base network, run as one classifier; always in evaluation mode.

    Args:
        base: trained network in evaluation mode; a copy is kept, the caller's is never touched.
        input_shape: shape of one input, without the batch axis.
        layers: the changed layers, stacked over members.
        generation: the record of how they were made, or None for a control.
        trunk: the network that members share outside the changed layers, of the base's class; None for the base. A
            copy is kept.

    Raises:
        InputError: no layers, layers of different member counts, or shapes that are not the base's.
        TraceError: torch.fx cannot follow the base.
    """

    def __init__(
        self,
        base: nn.Module,
        input_shape: Sequence[int],
        layers: Sequence[StackedLayer],
        generation: Generation | None = None,
        *,
        trunk: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.base = copy.deepcopy(base).requires_grad_(False)
        self.refined = None if trunk is None or trunk is base else copy.deepcopy(trunk).requires_grad_(False)
        self.input_shape = tuple(input_shape)
        self.generation = generation
        self._refs = tuple(layer.ref for layer in layers)
        _check_layers(self.trunk, layers)
        for index, layer in enumerate(layers):
            self.register_buffer(f"weight_{index}", layer.weight.detach().clone())
            self.register_buffer(f"bias_{index}", None if layer.bias is None else layer.bias.detach().clone())
        self.train(False)
        self._program: Program | None = program(self._trace(), self.layers)

    @classmethod
    def from_members(
        cls,
        base: nn.Module,
        example_input: Tensor,
        members: Sequence[MemberLayers],
        *,
        trunk: nn.Module | None = None,
    ) -> Self:
        """Return the ensemble of members given one by one, each with the same changed layers.

        Args:
            base: the network they were made from.
            example_input: `[batch ...]`, for the shape of one input.
            members: per member, its changed layers.
            trunk: the network that members share outside those layers; None for the base.
        """
        layers = []
        for ref in members[0]:
            own = [member[ref] for member in members]
            biases = [layer.bias for layer in own if layer.bias is not None]
            weight = torch.stack([layer.weight for layer in own])
            layers.append(StackedLayer(ref, weight, torch.stack(biases) if biases else None))
        return cls(base, example_input.shape[1:], layers, trunk=trunk)

    def with_generation(self, generation: Generation) -> Self:
        """Return this ensemble with its record attached."""
        self.generation = generation
        return self

    @property
    def trunk(self) -> nn.Module:
        """Return the network that members share outside their changed layers: the base, or its refined copy."""
        return self.base if self.refined is None else self.refined

    @property
    def size(self) -> int:
        """Return the number of members."""
        return int(self.layers[0].weight.shape[0])

    @property
    def layers(self) -> tuple[StackedLayer, ...]:
        """Return the changed layers, stacked over members."""
        return tuple(
            StackedLayer(ref, getattr(self, f"weight_{index}"), getattr(self, f"bias_{index}"))
            for index, ref in enumerate(self._refs)
        )

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        traced = self.program.traced
        return traced.shapes[traced.output.name][1]

    @property
    def program(self) -> Program:
        """Return the trunk's graph with the members' layers: what an execution plan runs."""
        if self._program is None:
            self._program = program(self._trace(), self.layers)
        return self._program

    @property
    def digest(self) -> str:
        """Return the SHA-256 over the base's, the trunk's and the members' parameters: equal digests answer alike."""
        tensors = {f"base.{name}": value for name, value in self.base.state_dict(keep_vars=False).items()}
        tensors |= {f"buffer.{name}": value for name, value in self.base.named_buffers()}
        if self.refined is not None:
            tensors |= {f"trunk.{name}": value for name, value in self.refined.state_dict(keep_vars=False).items()}
            tensors |= {f"trunk buffer.{name}": value for name, value in self.refined.named_buffers()}
        for layer in self.layers:
            tensors[f"member.{layer.ref}.weight"] = layer.weight
            if layer.bias is not None:
                tensors[f"member.{layer.ref}.bias"] = layer.bias
        return state_digest(tensors)

    def forward(self, x: Tensor) -> Tensor:
        """Return the log of the mean member probability `[batch classes]` for inputs `[batch ...]`."""
        return log_mean_probability(self.member_logits(x))

    def member_logits(self, x: Tensor, *, plan: Plan | None = None, members: slice | None = None) -> Tensor:
        """Return members' logits `[member batch classes]` for inputs `[batch ...]`.

        Args:
            x: inputs.
            plan: how members run; None for the device's fixed plan, whose bytes repeat.
            members: which members; None for all.

        Raises:
            InputError: the inputs have another shape, dtype or device than the ensemble's.
        """
        self._check_input(x)
        way = fixed_plan(x.device) if plan is None else plan
        return way.run(self.program, x, slice(None) if members is None else members)

    def until_decided(self, x: Tensor, rule: StoppingRule, *, block: int = 1, plan: Plan | None = None) -> Decision:
        """Return labels for inputs `[batch ...]`, evaluating members only until each row is decided.

        Args:
            x: inputs.
            rule: when a row is decided; an `ExactRule` gives the full ensemble's labels.
            block: members evaluated before the rule is asked again.
            plan: how members run; None for the device's fixed plan.

        Raises:
            InputError: block < 1, or malformed inputs.
        """

        def run(rows: Tensor, members: slice) -> Tensor:
            return self.member_logits(rows, plan=plan, members=members)

        with torch.inference_mode():
            return until_decided(x, size=self.size, block=block, rule=rule, run=run)

    def predict(self, x: Tensor) -> Prediction:
        """Return labels, probabilities and uncertainty for inputs `[batch ...]`; no gradient is kept.

        Raises:
            InputError: malformed inputs, or a NaN or infinity among them.
        """
        if not bool(torch.isfinite(x).all()):
            raise InputError("inputs: expected finite values, got NaN or infinity; drop or mend the damaged rows")
        with torch.inference_mode():
            return predict_from(self.member_logits(x))

    def member(self, index: int) -> nn.Module:
        """Return member `index` as a standalone network of the base's class, in evaluation mode.

        Raises:
            InputError: there is no such member.
        """
        if not isinstance(index, int) or not 0 <= index < self.size:
            raise InputError(f"member: expected an integer in 0..{self.size - 1}, got {index!r}")
        network = copy.deepcopy(self.trunk)
        network.load_state_dict(self.member_state(index), strict=True)
        return network

    def member_state(self, index: int) -> dict[str, Tensor]:
        """Return the state dictionary of member `index`; it loads strictly into the base's class."""
        state = self.trunk.state_dict()
        for layer in self.layers:
            bias = None if layer.bias is None else layer.bias[index]
            state |= unfold(self.trunk, layer.ref, layer.weight[index], bias)
        return like_state_of(self.trunk, {name: value.clone() for name, value in state.items()})

    def member_layers(self, index: int) -> MemberLayers:
        """Return member `index`'s changed layers, BatchNorm folded in; views, not copies."""
        return {
            layer.ref: FoldedLayer(
                _template(self.trunk, layer.ref), layer.weight[index], None if layer.bias is None else layer.bias[index]
            )
            for layer in self.layers
        }

    def save(self, folder: str | Path, *, architecture: "Architecture | None" = None) -> None:
        """Write the ensemble to a new folder; see `ensemble.artifact.save`."""
        from ensemble.artifact import save  # the artifact room imports this one

        save(self, Path(folder), architecture=architecture)

    def train(self, mode: bool = True) -> Self:
        """Return self in evaluation mode, whatever is asked: members are not trained."""
        return super().train(False)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        # .to(device) replaces the tensors that the traced graph and the stacked layers refer to.
        self._program = None
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self

    def _trace(self) -> TracedNetwork:
        reference = self.layers[0].weight
        example = torch.zeros(1, *self.input_shape, dtype=reference.dtype, device=reference.device)
        return trace(self.trunk, example)

    def _check_input(self, x: Tensor) -> None:
        weight = self.layers[0].weight
        if x.ndim != 1 + len(self.input_shape) or tuple(x.shape[1:]) != self.input_shape:
            expected = ["batch", *self.input_shape]
            raise InputError(f"inputs: expected shape {expected}, got {list(x.shape)}; one row per input")
        if x.dtype != weight.dtype or x.device != weight.device:
            raise InputError(
                f"inputs: expected {weight.dtype} on {weight.device} (the ensemble's), got {x.dtype} on {x.device}; "
                "convert the inputs or move the ensemble"
            )


def folded_trunk(ensemble: SymmetryEnsemble) -> MemberLayers:
    """Return the trunk's own layers at the places where members differ, BatchNorm folded in."""
    return {layer.ref: fold(ensemble.trunk, layer.ref) for layer in ensemble.layers}


def with_members(ensemble: SymmetryEnsemble, members: Sequence[MemberLayers]) -> SymmetryEnsemble:
    """Return an ensemble of the same base and trunk with other members; it has no generation record."""
    layers = ensemble.layers
    example = torch.empty(0, *ensemble.input_shape, dtype=layers[0].weight.dtype, device=layers[0].weight.device)
    return SymmetryEnsemble.from_members(
        ensemble.base, example, [dict(member) for member in members], trunk=ensemble.trunk
    )


def _template(base: nn.Module, ref: LayerRef) -> Any:
    return base.get_submodule(ref.layer)


def _check_layers(base: nn.Module, layers: Sequence[StackedLayer]) -> None:
    if not layers:
        raise InputError("an ensemble: expected at least one changed layer, got none")
    sizes = {layer.weight.shape[0] for layer in layers}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(f"an ensemble: expected the same number of members (>= 1) in every layer, got {sorted(sizes)}")
    for layer in layers:
        module = base.get_submodule(layer.ref.layer)
        own = tuple(module.weight.shape) if isinstance(module.weight, Tensor) else ()
        if tuple(layer.weight.shape[1:]) != own:
            raise InputError(f"{layer.ref}: expected members' weights {list(own)}, got {list(layer.weight.shape[1:])}")
        if layer.bias is not None and tuple(layer.bias.shape[1:]) != own[:1]:
            raise InputError(f"{layer.ref}: expected members' biases {list(own[:1])}, got {list(layer.bias.shape[1:])}")
