r"""The gauge of `nn.MultiheadAttention`: what can change inside every head without changing any output.

Per head, with a in GL(d_k) and w in GL(d_v) (d_k = d_v = embed_dim / heads here):

.. math:: W_Q \to a^{-T} W_Q, \quad W_K \to a W_K, \quad W_V \to w W_V, \quad W_O \to W_O w^{-1},

biases of queries, keys and values alike, because :math:`q^T k = (a^{-T} q)^T (a k)` and the value's factor comes out of
the weighted sum (docs/mathematics.md, section 8). Heads may also be relabelled. All of it is exact for every input: an
oracle for tests, not a source of diversity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ensemble.errors import InputError
from ensemble.groups import DirectSum, GeneralLinear, GroupElement, Permutation, inverse
from ensemble.sites.site import RefusedSite


@dataclass(frozen=True, slots=True)
class AttentionSite:
    """One attention layer whose heads have a gauge.

    Attributes:
        name: qualified module name.
        heads: number of heads.
        size: dimension of a head's queries, keys and values.
    """

    name: str
    heads: int
    size: int

    @property
    def group(self) -> DirectSum:
        """Return the group of a (and of w): one invertible matrix per head."""
        return DirectSum(GeneralLinear(), self.heads)


@dataclass(frozen=True, slots=True, eq=False)
class Gauge:
    """One element of the gauge group of an attention layer.

    Attributes:
        keys: a for all heads, block-diagonal `[heads*size heads*size]`.
        values: w for all heads, block-diagonal.
        order: relabelling of the heads `[heads heads]`, applied last.
    """

    keys: GroupElement
    values: GroupElement
    order: GroupElement


def attention_sites(network: nn.Module) -> list[AttentionSite]:
    """Return the attention layers on which the gauge acts, in the order of their names in the network."""
    return [found for found in _survey(network) if isinstance(found, AttentionSite)]


def refused_attention(network: nn.Module) -> list[RefusedSite]:
    """Return the attention layers that must be left alone, with reasons."""
    return [found for found in _survey(network) if isinstance(found, RefusedSite)]


def sample_gauge(site: AttentionSite, *, scale: float, rng: torch.Generator) -> Gauge:
    """Return a random element: matrices at `scale` along the orbit and a uniform order of the heads.

    Args:
        site: the attention layer.
        scale: multiplier of the Lie-algebra elements; 0 leaves only the relabelling.
        rng: CPU generator.
    """
    hidden = site.heads * site.size
    keys, values = (site.group.sample(hidden, scale=scale, rng=rng) for _ in range(2))
    return Gauge(keys, values, Permutation().sample(site.heads, scale=0.0, rng=rng))


def act_on_attention(network: nn.Module, site: AttentionSite, gauge: Gauge) -> dict[str, Tensor]:
    """Return the state-dictionary entries of the layer after the action; every output stays the same.

    Args:
        network: the network that `site` was found in; it is not changed.
        site: the attention layer.
        gauge: an element of its group.

    Raises:
        InputError: the element has other heads or another size than the layer.
    """
    _check(gauge, site)
    module = network.get_submodule(site.name)
    assert isinstance(module, nn.MultiheadAttention)
    relabel = torch.kron(gauge.order.matrix, torch.eye(site.size, dtype=torch.float64))
    queries = relabel @ inverse(gauge.keys.matrix).T
    keys = relabel @ gauge.keys.matrix
    values = relabel @ gauge.values.matrix
    out = module.out_proj.weight.detach()
    entries = {f"{site.name}.out_proj.weight": (out.double() @ inverse(values).to(out.device)).to(out.dtype)}
    for name, weight in _projections(module, (queries, keys, values)).items():
        entries[f"{site.name}.{name}"] = weight
    return entries


def _projections(module: nn.MultiheadAttention, matrices: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the projections of queries, keys and values, each multiplied by its matrix from the left."""
    packed: dict[str, Tensor] = {}
    if module.in_proj_bias is not None:
        packed["in_proj_bias"] = module.in_proj_bias
    if module._qkv_same_embed_dim:
        packed["in_proj_weight"] = module.in_proj_weight
        return _packed(packed, matrices)
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    return _packed(packed, matrices) | {
        name: _multiplied(matrix, getattr(module, name)) for name, matrix in zip(names, matrices, strict=True)
    }


def _packed(tensors: dict[str, Tensor], matrices: Sequence[Tensor]) -> dict[str, Tensor]:
    return {
        name: torch.cat([_multiplied(matrix, part) for matrix, part in zip(matrices, tensor.chunk(3), strict=True)])
        for name, tensor in tensors.items()
    }


def _multiplied(matrix: Tensor, weight: Tensor) -> Tensor:
    return (matrix.to(weight.device) @ weight.detach().double()).to(weight.dtype)


def _check(gauge: Gauge, site: AttentionSite) -> None:
    for name, element in (("keys", gauge.keys), ("values", gauge.values)):
        if element.group != site.group or element.hidden != site.heads * site.size:
            raise InputError(
                f"{site.name}: expected {name} in {site.group.name} on {site.heads * site.size} units, got "
                f"{element.group.name} on {element.hidden}"
            )
    if gauge.order.group != Permutation() or gauge.order.hidden != site.heads:
        raise InputError(f"{site.name}: expected a permutation of {site.heads} heads, got {gauge.order.hidden}")


def _survey(network: nn.Module) -> list[AttentionSite | RefusedSite]:
    owners: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        owners.setdefault(parameter.data_ptr(), []).append(name)
    shared = {name for names in owners.values() if len(names) > 1 for name in names}
    found: list[AttentionSite | RefusedSite] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            reason = _refusal(name, module, shared)
            size = module.embed_dim // module.num_heads
            found.append(RefusedSite(name, reason) if reason else AttentionSite(name, module.num_heads, size))
    return found


def _refusal(name: str, module: nn.MultiheadAttention, shared: set[str]) -> str | None:
    if module.bias_k is not None or module.bias_v is not None:
        return "add_bias_kv: its extra key and value would have to move along"
    if type(module) is not nn.MultiheadAttention:
        return f"a {type(module).__name__} with code of its own"
    if any(parametrize.is_parametrized(part) for part in module.modules()):
        return "parametrised (weight or spectral norm); remove the parametrisation first"
    if any(f"{name}.{key}" in shared for key, _ in module.named_parameters(remove_duplicate=False)):
        return "shares a parameter with another module (tied weights), or the module is used under two names"
    return None
