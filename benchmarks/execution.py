"""What do M members cost, against the ideal tau + M (1 - tau) forward passes and against M separate networks?

For sites in the head only, the last block, the last stage and everywhere, on ResNet-20 (32x32) and ResNet-18 (64x64),
at batch 1, 32 and 256: median seconds of every execution plan, of M standalone members one after the other (the naive
loop), and of the base alone, all in one run. Members are exact symmetries: their cost is that of any members, and no
calibration is needed. Prints the peak memory of the parameters beside that of M networks.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.record import Timing, timed, write
from ensemble import Architecture
from ensemble.architectures import build
from ensemble.controls import exact_ensemble
from ensemble.execution import PLANS, GraphedPlan, Plan, ideal_cost, shared_share
from ensemble.execution.program import StackedLayer
from ensemble.members import SymmetryEnsemble

MEMBERS = 8


@dataclass(frozen=True, slots=True)
class Case:
    """A network, its input size, and what the layer names of a part of it contain."""

    name: str
    network: Callable[[], nn.Module]
    side: int
    parts: dict[str, tuple[str, ...]]


CASES = (
    Case(
        "ResNet-20 32x32", lambda: build(Architecture("resnet20", {"num_classes": 10})), 32,
        {"last block": (".layer3.2.",), "last stage": (".layer3.",), "all": (".layer",)},
    ),
    Case(
        "ResNet-18 64x64", lambda: build(Architecture("torchvision/resnet18", {"num_classes": 10})), 64,
        {"last block": (".layer4.1.",), "last stage": (".layer4.",), "all": (".layer",)},
    ),
)  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    console, rows = Console(), []
    for case in CASES:
        torch.manual_seed(0)
        network = case.network().eval()
        whole = exact_ensemble(
            network, torch.zeros(1, 3, case.side, case.side), members=MEMBERS, rng=torch.Generator().manual_seed(0)
        )
        for part, prefixes in _with_head(case.parts).items():
            many = _restricted(whole, prefixes, case.side).to(device)
            for batch in options.batches:
                x = torch.rand(batch, 3, case.side, case.side, device=device)
                rows.append(_measure(case.name, part, many, x, options.repeats))
                console.print(_line(rows[-1]))
    console.print(_table(rows))
    write("execution", __doc__ or "", {"members": MEMBERS, "rows": rows}, settings=vars(options))


def _with_head(parts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {"head": ("head",), **parts}


def _restricted(whole: SymmetryEnsemble, prefixes: tuple[str, ...], side: int) -> SymmetryEnsemble:
    """Return the ensemble with the members' layers of one part only; "head" stands for the last Linear layer."""
    base = whole.base
    if prefixes == ("head",):
        name, module = [(n, m) for n, m in base.named_modules() if isinstance(m, nn.Linear)][-1]
        ref = type(whole.layers[0].ref)(name, None)
        weight = module.weight.detach().expand(MEMBERS, *module.weight.shape).clone()
        layers = [StackedLayer(ref, weight, module.bias.detach().expand(MEMBERS, -1).clone())]
    else:
        layers = [layer for layer in whole.layers if any(part in f".{layer.ref.layer}" for part in prefixes)]
    return SymmetryEnsemble(base, (3, side, side), layers)


def _measure(name: str, part: str, many: SymmetryEnsemble, x: Tensor, repeats: int) -> dict[str, object]:
    standalone = [many.member(index).to(x.device) for index in range(MEMBERS)]
    base = many.base

    def naive() -> Tensor:
        return torch.stack([member(x) for member in standalone])

    with torch.inference_mode():
        # The base and the naive loop frame the plans, so that a drifting machine shows.
        one = timed(lambda: base(x), repeats, x.device)
        loop = timed(naive, repeats, x.device)
        plans: dict[str, Timing] = {
            plan.name: timed(lambda plan=plan: many.member_logits(x, plan=plan), repeats, x.device)
            for plan in _plans(x.device)
        }
    best = min(plans, key=lambda key: plans[key].median)
    ideal = ideal_cost(many.program, MEMBERS)
    return {
        "network": name,
        "sites": part,
        "batch": len(x),
        "tau": shared_share(many.program),
        "ideal_passes": ideal,
        "base": one.to_dict(),
        "naive": loop.to_dict(),
        "plans": {key: value.to_dict() for key, value in plans.items()},
        "best": best,
        "best_over_ideal": plans[best].median / (ideal * one.median),
        "naive_over_best": loop.median / plans[best].median,
        "parameter_bytes": sum(t.numel() * t.element_size() for t in many.state_dict().values()),
        "parameter_bytes_of_networks": MEMBERS * sum(t.numel() * t.element_size() for t in base.state_dict().values()),
    }


def _plans(device: torch.device) -> list[Plan]:
    plans = list(PLANS.values())
    return plans + [GraphedPlan(plan) for plan in plans] if device.type == "cuda" else plans


def _line(row: dict[str, object]) -> str:
    return (
        f"{row['network']}, {row['sites']}, batch {row['batch']}: best {row['best']}, {row['best_over_ideal']:.2f} of "
        f"ideal, naive/best {row['naive_over_best']:.2f}"
    )


def _table(rows: list[dict[str, object]]) -> Table:
    table = Table(title=f"{MEMBERS} members: milliseconds (median); MiB of parameters, and of {MEMBERS} networks")
    names = list(rows[0]["plans"])  # type: ignore[call-overload]
    ratios = ("best/ideal", "naive/best", "MiB", f"MiB x {MEMBERS}")
    for heading in ("network", "sites", "batch", "tau", "base", "naive", *names, *ratios):
        table.add_column(heading)
    for row in rows:
        plans = row["plans"]
        assert isinstance(plans, dict)
        cells = [row["base"], row["naive"], *plans.values()]
        table.add_row(
            str(row["network"]), str(row["sites"]), str(row["batch"]), f"{row['tau']:.2f}",
            *(f"{cell['median'] * 1e3:.1f}" for cell in cells),  # type: ignore[index]
            f"{row['best_over_ideal']:.2f}", f"{row['naive_over_best']:.2f}",
            *(f"{row[key] / 2**20:.1f}" for key in ("parameter_bytes", "parameter_bytes_of_networks")),  # type: ignore[operator]
        )  # fmt: skip
    return table


if __name__ == "__main__":
    begin = time.perf_counter()
    main()
    print(f"{time.perf_counter() - begin:.0f} s in all")
