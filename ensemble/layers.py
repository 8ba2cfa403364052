r"""A linear or convolutional layer with its BatchNorm folded in, as a value; and its way back into a state dictionary.

`FoldedLayer` is what a site's group element acts on: weight `[out inp ...]` and bias `[out]`, after
`W <- diag(gamma / sqrt(var + eps)) W`, `b <- beta + (b - mean) gamma / sqrt(var + eps)` (evaluation mode; exact with
any padding, because the BatchNorm acts after the convolution; docs/mathematics.md, section 7).

`unfold` writes it back into the layer's own class: the BatchNorm becomes running mean 0, running variance 1 - eps,
gamma 1, beta = bias, so a member's state dictionary loads strictly into the base's class.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensemble.errors import InputError
from ensemble.groups import monomial_form

Linear = nn.Linear | nn.Conv1d | nn.Conv2d
Norm = nn.BatchNorm1d | nn.BatchNorm2d


@dataclass(frozen=True, slots=True)
class LayerRef:
    """Where a layer lives in its network: qualified module names.

    Attributes:
        layer: name of the Linear or Conv module.
        norm: name of the BatchNorm that alone reads it, or None.
    """

    layer: str
    norm: str | None

    def __str__(self) -> str:
        return self.layer


@dataclass(frozen=True, slots=True)
class FoldedLayer:
    """A layer's affine map, callable on activations.

    Attributes:
        template: the module whose stride, padding and dilation are used; its weights are not.
        weight: `[out inp]` or `[out inp kh kw]`.
        bias: `[out]`, or None where neither the layer nor a BatchNorm can store one.
    """

    template: Linear
    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output for input activations."""
        if isinstance(self.template, nn.Linear):
            return F.linear(x, self.weight, self.bias)
        output: Tensor = self.template._conv_forward(x, self.weight, self.bias)
        return output

    def mix_output(self, matrix: Tensor) -> "FoldedLayer":
        """Return the layer whose output units are mixed: W' = g W, b' = g b, with g `[out out]`.

        Raises:
            InputError: a grouped convolution, and g mixes units of different groups.
        """
        g = matrix.to(self.weight)
        form = monomial_form(g)
        if self.groups > 1:
            _diagonal_blocks(g, self.groups, "output")
        if form is None:
            weight = torch.einsum("ij,j...->i...", g, self.weight)
            return replace(self, weight=weight, bias=None if self.bias is None else g @ self.bias)
        order, values = form
        weight = self.weight[order] * values.reshape(-1, *[1] * (self.weight.ndim - 1))
        return replace(self, weight=weight, bias=None if self.bias is None else values * self.bias[order])

    def mix_input(self, matrix: Tensor) -> "FoldedLayer":
        """Return the layer whose input units are mixed: U' = U pi, with pi `[hidden hidden]`.

        A Linear layer behind a flatten has hidden x positions inputs; pi then acts as pi ⊗ 1.

        Raises:
            InputError: a grouped convolution, and pi mixes units of different groups.
        """
        pi = matrix.to(self.weight)
        if self.groups > 1:
            return replace(self, weight=self._mix_grouped_input(pi))
        split = self.weight.reshape(self.weight.shape[0], pi.shape[0], -1)
        form = monomial_form(pi)
        if form is None:
            mixed = torch.einsum("mhp,hk->mkp", split, pi)
        else:
            order, values = form
            mixed = torch.empty_like(split)
            mixed[:, order] = split * values.reshape(1, -1, 1)
        return replace(self, weight=mixed.reshape(self.weight.shape))

    def relabel(self, matrix: Tensor) -> "FoldedLayer":
        """Return a depthwise layer that commutes with g: filters permuted as g permutes units, b' = g b.

        With one entry in every row and column of g, `relabelled(g z) = g layer(z)` for every z.

        Raises:
            InputError: the layer is not depthwise, or g has other than one entry in every row and column.
        """
        form = monomial_form(matrix.to(self.weight))
        if form is None or not self.groups == self.weight.shape[0] == matrix.shape[0]:
            raise InputError(
                f"expected a depthwise layer and one entry in every row and column of its group element, got "
                f"{self.groups} groups for {self.weight.shape[0]} channels and a matrix {list(matrix.shape)}"
            )
        order, values = form
        return replace(self, weight=self.weight[order], bias=None if self.bias is None else values * self.bias[order])

    @property
    def groups(self) -> int:
        """Return the number of channel groups; 1 for Linear layers."""
        return 1 if isinstance(self.template, nn.Linear) else self.template.groups

    def _mix_grouped_input(self, pi: Tensor) -> Tensor:
        blocks = _diagonal_blocks(pi, self.groups, "input")
        split = self.weight.reshape(self.groups, -1, blocks.shape[1], self.weight[0, 0].numel())
        return torch.einsum("gohp,ghk->gokp", split, blocks).reshape(self.weight.shape)


def _diagonal_blocks(matrix: Tensor, groups: int, side: str) -> Tensor:
    """Return the blocks `[group size size]` of a block-diagonal matrix."""
    size = matrix.shape[0] // groups
    blocks = matrix.reshape(groups, size, groups, size)
    own = torch.stack([blocks[k, :, k] for k in range(groups)])
    if not torch.equal((own != 0).sum(), (matrix != 0).sum()):
        raise InputError(
            f"a convolution of {groups} groups: expected a group element with {groups} diagonal blocks of {size} "
            f"{side} units, got one that mixes groups; use the site's own group"
        )
    return own


def fold(network: nn.Module, ref: LayerRef) -> FoldedLayer:
    """Return the folded layer at `ref`; its tensors are new or shared, never written to.

    Raises:
        InputError: the BatchNorm keeps no running statistics, so it is not an affine map in evaluation mode.
    """
    layer = network.get_submodule(ref.layer)
    assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
    weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
    if ref.norm is None:
        return FoldedLayer(layer, weight, bias)
    norm = network.get_submodule(ref.norm)
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise InputError(f"{ref.norm}: expected running statistics, got none; set track_running_stats=True")
    # In float64: the fold must not add rounding of its own to what it is compared with.
    gamma = norm.weight.detach() if norm.affine else torch.ones_like(variance)
    beta = norm.bias.detach() if norm.affine else torch.zeros_like(mean)
    factor = gamma.double() / torch.sqrt(variance.double() + norm.eps)
    start = torch.zeros_like(mean) if bias is None else bias
    folded_weight = weight.double() * factor.reshape(-1, *[1] * (weight.ndim - 1))
    folded_bias = beta.double() + (start.double() - mean.double()) * factor
    return FoldedLayer(layer, folded_weight.to(weight.dtype), folded_bias.to(weight.dtype))


def unfold(network: nn.Module, ref: LayerRef, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
    """Return state-dictionary entries that make `network` compute `weight`, `bias` at `ref`.

    Args:
        network: a network of the base's class.
        ref: the layer and its BatchNorm.
        weight: folded weight, the layer's own shape.
        bias: folded bias `[out]`, or None.

    Raises:
        InputError: there is a bias but the layer has no place to store one.
    """
    layer = network.get_submodule(ref.layer)
    entries = {f"{ref.layer}.weight": weight}
    if ref.norm is None:
        if bias is not None and layer.bias is None:
            raise InputError(f"{ref.layer}: expected no bias (the layer stores none), got one of {tuple(bias.shape)}")
        return entries | ({f"{ref.layer}.bias": bias} if bias is not None else {})
    norm = network.get_submodule(ref.norm)
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    out = torch.zeros_like(norm.running_mean) if bias is None else bias
    if layer.bias is not None:
        entries[f"{ref.layer}.bias"] = torch.zeros_like(out)
    entries[f"{ref.norm}.running_var"] = torch.full_like(norm.running_var, 1.0 - norm.eps)
    if not norm.affine:
        # Without beta the bias moves into the running mean: (x - mean) * 1.
        return entries | {f"{ref.norm}.running_mean": -out}
    return entries | {
        f"{ref.norm}.running_mean": torch.zeros_like(norm.running_mean),
        f"{ref.norm}.weight": torch.ones_like(norm.running_mean),
        f"{ref.norm}.bias": out,
    }


def like_state_of(network: nn.Module, entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries as a state dictionary with the versions of `network`'s own.

    A class may load a state dictionary of an older version differently, and a plain dictionary counts as the oldest.
    """
    state = OrderedDict(entries)
    state._metadata = getattr(network.state_dict(), "_metadata", None)  # type: ignore[attr-defined]
    return state
