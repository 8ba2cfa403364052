"""On which of torchvision's classification networks do the symmetries act, and how exactly?

    python benchmarks/zoo.py [NAME ...] [--again]

Every parameter is redrawn at fan-in scale (heads and layer scales that start at zero included), BatchNorm statistics
come from one batch, and all runs in float64. Per network: sites, streams and attention layers that were found, layers
refused; the relative change of the logits under exact actions at all of them at once, and under a planted non-symmetry
(signed scalings) at the same sites; the error of the data-dependent action on its batch in units of 1e-13 kappa(A)
times the outputs' scale; and whether a member's state dictionary loads strictly into torchvision's own class. Finished
networks are skipped when it is started again.
"""

import argparse
import copy
import gc
import json
import math
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import scipy.linalg
import torch
from torch import Tensor, nn

from ensemble.action import exact_layers, prior_shifted
from ensemble.attention import act_on_attention, attention_sites, sample_gauge
from ensemble.calibration import regressor_rows
from ensemble.controls import exact_ensemble
from ensemble.graph import TracedNetwork, trace
from ensemble.groups import GeneralLinear, NonzeroScaling, inverse
from ensemble.layers import FoldedLayer, LayerRef, fold, unfold
from ensemble.sites import Role, Site, Survey, survey
from service.catalogue.torchvision_compat import import_torchvision

RESULTS = Path(__file__).parent / "results" / "zoo.json"
#: Above this many parameters an ensemble's copies do not fit beside each other in 16 GB; the network itself is changed.
COPIES_LIMIT = 400_000_000
#: What the goal asks for.
EXACT_LIMIT = 1e-9
PLANTED_LIMIT = 1e-3
BATCH_UNIT = 1e-13
#: Rows of the data-dependent batch: at most this many, and never more than hidden units.
ROWS = 16


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found for one network.

    Attributes:
        name: torchvision's name.
        input_size: height and width of the inputs.
        member: "ensemble" where `SymmetryEnsemble.member(0)` was loaded, "in place" for the largest networks.
        parameters: how many.
        sites: places where a refit is possible.
        streams: coupled sets of layers that admit exact actions only.
        attention: attention layers whose gauge was acted on.
        refused: layers whose units are left alone by refits.
        exact_error: largest change of a logit under exact actions at all sites, streams and attention layers, relative.
        planted_error: the same under a non-symmetry at the sites.
        batch_error: the data-dependent action's largest error on its batch, in units of 1e-13 kappa(A) scale.
        strict: whether the member's state dictionary loaded strictly into a network of the class.
        seconds: all of it.
    """

    name: str
    input_size: int
    member: str
    parameters: int
    sites: int
    streams: int
    attention: int
    refused: int
    exact_error: float
    planted_error: float
    batch_error: float
    strict: bool
    seconds: float

    @property
    def passed(self) -> bool:
        """Return whether the goal is met."""
        return (
            self.sites >= 1
            and self.strict
            and self.exact_error <= EXACT_LIMIT
            and self.planted_error > PLANTED_LIMIT
            and self.batch_error <= 1.0
        )


def names() -> list[str]:
    """Return the names of torchvision's classification networks."""
    models = import_torchvision().models
    return sorted(models.list_models(module=models))


def examine(name: str) -> Examined:
    """Return what was found for one of torchvision's networks, with random weights of a fixed seed."""
    return examine_network(name, *build(name))


def examine_network(name: str, network: nn.Module, size: int) -> Examined:
    """Return what was found for a network of colour images of the given size; its weights are drawn anew."""
    begin = time.perf_counter()
    rng = torch.Generator().manual_seed(0)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    network.double()
    redraw(network, rng)
    batch = torch.randn(8, 3, size, size, generator=rng, dtype=torch.float64)
    normalise(network, batch)
    # Of the batch itself: on other inputs a deep random network with these statistics is chaotic (a relative change of
    # 1e-13 in the input of efficientnet_v2_l moves its logits by 40 %), so rounding would be what is measured.
    x = batch[:2]
    found = survey(trace(network, x))
    attention = len(attention_sites(network))
    with torch.inference_mode():
        before = network(x)
    batch_error = _batch_error(found.sites, trace(network, x), x, rng)
    in_place = parameters > COPIES_LIMIT
    member, strict = (_changed_in_place if in_place else _member)(network, found, x, rng)
    exact_error = _relative(member, before, x)
    # On top of the exact member, which is the same function.
    for site in found.sites:
        write(member, planted(member, site, rng))
    return Examined(
        name=name,
        input_size=size,
        member="in place" if in_place else "ensemble",
        parameters=parameters,
        sites=len(found.sites),
        streams=len(found.coupled),
        attention=attention,
        refused=len(found.refused),
        exact_error=exact_error,
        planted_error=_relative(member, before, x),
        batch_error=batch_error,
        strict=strict,
        seconds=time.perf_counter() - begin,
    )


def build(name: str) -> tuple[nn.Module, int]:
    """Return a network in evaluation mode, its weights not yet drawn, and the smallest input size it takes."""
    options: dict[str, object] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    size = 64
    if name == "inception_v3":
        size = 96
    elif name == "maxvit_t":
        size = 224
    elif name.startswith("vit_"):
        size = 56 if name == "vit_h_14" else 64
        options["image_size"] = size
    with without_initialisation():
        network: nn.Module = import_torchvision().models.get_model(name, weights=None, **options)
    return network.eval().requires_grad_(False), size


@contextmanager
def without_initialisation() -> Iterable[None]:
    """Leave new parameters as they are in memory: every one is drawn again, and billions drawn twice take minutes."""
    drawing = [key for key in dir(nn.init) if key.endswith("_") and not key.startswith("_")]
    with patch.multiple(nn.init, **{key: lambda tensor, *_, **__: tensor for key in drawing}):
        yield


def redraw(network: nn.Module, rng: torch.Generator) -> None:
    """Draw every parameter at fan-in scale: matrices N(0, 2/fan-in), norms about 1, biases and tokens small."""
    for name, parameter in network.named_parameters():
        draw = torch.empty_like(parameter).normal_(generator=rng)
        if parameter.ndim > 1:
            parameter.copy_(draw * math.sqrt(2 / parameter[0].numel()))
        else:
            parameter.copy_(0.1 * draw + (1.0 if name.endswith("weight") else 0.0))


def normalise(network: nn.Module, batch: Tensor) -> None:
    """Set every BatchNorm's running statistics to those of one batch."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    with torch.inference_mode():
        network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def _member(network: nn.Module, found: Survey, x: Tensor, rng: torch.Generator) -> tuple[nn.Module, bool]:
    """Return a member after exact actions everywhere, and whether `member(0)` loaded strictly into its class."""
    many = exact_ensemble(network, x, members=1, rng=rng, places=[*found.sites, *found.coupled])
    strict = True
    try:
        member = many.member(0)
    except (RuntimeError, ValueError) as error:
        print(f"strict loading failed: {error}")
        member, strict = copy.deepcopy(network), False
        write(member, many.member_layers(0))
    _gauge_attention(member, rng)
    return member, strict


def _changed_in_place(network: nn.Module, found: Survey, _: Tensor, rng: torch.Generator) -> tuple[nn.Module, bool]:
    """Return the network itself after exact actions everywhere; every tensor found its place by name and shape."""
    for site in (*found.sites, *found.coupled):
        element = site.exact_group.sample(site.hidden, scale=0.5, rng=rng)
        write(network, exact_layers(site, {part.ref: fold(network, part.ref) for part in site.parts}, element))
    _gauge_attention(network, rng)
    return network, True


def _gauge_attention(network: nn.Module, rng: torch.Generator) -> None:
    for site in attention_sites(network):
        _fill(network, act_on_attention(network, site, sample_gauge(site, scale=0.3, rng=rng)))


def write(network: nn.Module, layers: Mapping[LayerRef, FoldedLayer]) -> None:
    """Write folded layers into a network, BatchNorm left behind as the identity."""
    for ref, layer in layers.items():
        _fill(network, unfold(network, ref, layer.weight, layer.bias))


def _fill(network: nn.Module, entries: Mapping[str, Tensor]) -> None:
    state = network.state_dict()
    for key, value in entries.items():
        if state[key].shape != value.shape:
            raise RuntimeError(f"{key}: expected shape {list(state[key].shape)}, got {list(value.shape)}")
        state[key].copy_(value)


def planted(network: nn.Module, site: Site, rng: torch.Generator) -> dict[LayerRef, FoldedLayer]:
    """Return g V, U g^-1 and relabelled riders for a signed scaling g: what no activation here admits."""
    g = NonzeroScaling().sample(site.hidden, scale=0.5, rng=rng).matrix
    changed = {
        site.lower: fold(network, site.lower).mix_output(g),
        site.upper: fold(network, site.upper).mix_input(inverse(g)),
    }
    riders = [part.ref for part in site.riders if part.role is Role.RIDER]
    return changed | {ref: fold(network, ref).relabel(g) for ref in riders}


def _relative(network: nn.Module, before: Tensor, x: Tensor) -> float:
    with torch.inference_mode():
        return float((network(x) - before).abs().max() / before.abs().max())


def _batch_error(sites: Sequence[Site], traced: TracedNetwork, x: Tensor, rng: torch.Generator) -> float:
    """Return the largest error over sites of the data-dependent action on its batch."""
    starts = [traced.node(site.preactivation) for site in sites]
    with torch.inference_mode():
        values = traced.run(starts, {traced.input: x}, {})
    return max(
        _site_error(site, _tensor(values[start]), traced, rng) for site, start in zip(sites, starts, strict=True)
    )


def _site_error(site: Site, z: Tensor, traced: TracedNetwork, rng: torch.Generator) -> float:
    """Return the error of U' = U + (T - U A) A^+ on at most `ROWS` rows, in units of 1e-13 kappa(A) scale."""
    start, end = traced.node(site.preactivation), traced.node(site.upper_input)
    upper = fold(traced.graph, site.upper)
    with torch.inference_mode():
        clean, moved = (
            regressor_rows(upper, _tensor(traced.run([end], {start: value}, {})[end]))
            for value in (z, _mixed(z, site, rng))
        )
        rows = _independent(moved, min(ROWS, site.hidden), rng)
        A, U = moved[rows].T, upper.weight.flatten(1)
        target = U @ clean[rows].T
        error = (prior_shifted(U, A, target) @ A - target).abs().max() / target.abs().max()
        return float(error / (BATCH_UNIT * torch.linalg.cond(A)))


def _mixed(z: Tensor, site: Site, rng: torch.Generator) -> Tensor:
    """Return g z with g in GL made of equal blocks of at most 32 units: whole matrices of thousands take minutes."""
    axis = site.channel_axis % z.ndim
    size = math.gcd(site.hidden // site.blocks, 32)
    block = GeneralLinear().sample(size, scale=0.5, rng=rng).matrix.to(z)
    split = z.movedim(axis, 0).reshape(site.hidden // size, size, -1)
    mixed: Tensor = torch.matmul(block, split).reshape(z.movedim(axis, 0).shape).movedim(0, axis)
    return mixed


def _independent(rows: Tensor, wanted: int, rng: torch.Generator) -> Tensor:
    """Return indices of well independent rows: pivoted QR of a random sample."""
    sample = torch.randperm(len(rows), generator=rng)[: 4 * wanted]
    diagonal, order = scipy.linalg.qr(rows[sample].T.double().numpy(), mode="r", pivoting=True)
    strength = abs(diagonal.diagonal())
    return sample[order[: min(wanted, int((strength > 1e-3 * strength[0]).sum()))]]


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def families(of: Iterable[str]) -> dict[str, list[str]]:
    """Return the networks by family: the letters their names begin with."""
    found: dict[str, list[str]] = {}
    for name in of:
        match = re.match(r"[a-z]+(_v\d|_[xy])?", name)
        found.setdefault(match.group() if match else name, []).append(name)
    return found


def _write(records: dict[str, Examined]) -> None:
    environment = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    goal = {"exact": EXACT_LIMIT, "planted": PLANTED_LIMIT, "batch_unit": BATCH_UNIT}
    networks = [asdict(record) | {"passed": record.passed} for _, record in sorted(records.items())]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    passed = sum(record.passed for record in records.values())
    body = {"question": __doc__, "goal": goal, "passed": passed, "of": len(records), "environment": environment}
    RESULTS.write_text(json.dumps(body | {"networks": networks}, indent=2) + "\n", encoding="utf-8")


def _read() -> dict[str, Examined]:
    if not RESULTS.exists():
        return {}
    stored = json.loads(RESULTS.read_text(encoding="utf-8"))["networks"]
    return {entry["name"]: Examined(**{k: v for k, v in entry.items() if k != "passed"}) for entry in stored}


def main() -> None:
    """Examine the networks that have no record yet, print a line for each, write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="torchvision names; all if none is given")
    parser.add_argument("--again", action="store_true", help="examine networks that have a record, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    records = _read()
    wanted = arguments.names or names()
    print(
        f"{'network':22}{'sites':>6}{'streams':>8}{'attn':>5}{'refused':>8}  {'exact':>8}{'planted':>9}{'batch':>8}  s"
    )
    for name in wanted:
        if name not in records or arguments.again:
            records[name] = examine(name)
            _write(records)
            gc.collect()  # graphs hold their nodes in cycles, and a node may hold a network
        r = records[name]
        print(
            f"{name:22}{r.sites:6}{r.streams:8}{r.attention:5}{r.refused:8}  {r.exact_error:8.1e}{r.planted_error:9.1e}"
            f"{r.batch_error:8.1e}  {r.seconds:.0f}{'' if r.member == 'ensemble' else ' ' + r.member}"
            f"{'' if r.passed else '  FAILED'}",
            flush=True,
        )
    passed = sum(records[name].passed for name in wanted)
    print(f"{passed} of {len(wanted)} networks meet the goal; written: {RESULTS}")


if __name__ == "__main__":
    main()
