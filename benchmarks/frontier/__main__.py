"""Run the arena: contenders against attackers on one base; resumable.

Settings are chosen on `--part validation` of a soft base, never on `--part final`, whose images no choice has seen.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from attacks.rows import Suite
from attacks.suites import SUITES, suite_named
from attacks.threat import ThreatModel
from benchmarks.frontier.attackers import Attackers, Block, blocks
from benchmarks.frontier.bases import BASES, PARTS, Base
from benchmarks.frontier.contenders import CONTENDERS, SINGLE, Contender, Workbench, variants
from benchmarks.frontier.judging import Judge
from benchmarks.frontier.ledger import Ledger
from benchmarks.frontier.outcome import forward_ratio, outcome
from benchmarks.frontier.table import plot, table
from benchmarks.record import write
from benchmarks.shared_data import ENCODING
from ensemble.digests import network_digest

QUESTION = "What is each recipe worth against every attacker, beside the networks and controls it must beat?"


def main() -> None:
    """Run what is missing, then print the table and write it."""
    options = _options()
    torch.set_num_threads(options.threads)
    console = Console(width=170)
    base = BASES[options.base]()
    rows: list[dict[str, Any]] = []
    for seed in options.seeds:
        bench = Workbench(base, seed, max(options.members), options.folder)
        contenders = CONTENDERS | variants(json.loads(options.variants))
        for name in [*options.contenders, *json.loads(options.variants)]:
            for members in (1,) if name in SINGLE else options.members:
                contender = contenders[name](bench, members)
                if any(
                    (row["contender"], row["members"], row["seed"]) == (name, contender.members, seed) for row in rows
                ):
                    continue  # fewer networks are there than were asked for
                suite = options.full_suite if name in options.full else options.suite
                rows.append({"seed": seed} | _judged(options, base, contender, suite, console))
                console.print(table(rows[-1:], ""))
    console.print(table(rows, f"{base.name}, {ENCODING}, {options.part}, n = {options.n}, Linf, radii of 255"))
    if options.part == "final":
        settings = {key: value for key, value in vars(options).items() if key != "folder"} | {"device": "cpu"}
        write(f"frontier-{base.name}", QUESTION, {"data": ENCODING, "rows": rows}, settings=settings)
        plot(
            rows, max(options.own_epsilons), Path(__file__).parents[2] / "docs" / "images" / f"frontier-{base.name}.svg"
        )


def _judged(
    options: argparse.Namespace, base: Base, contender: Contender, name: str, console: Console
) -> dict[str, Any]:
    suite: Suite = suite_named(name).served_as("prob")
    attackers = Attackers(base, contender, suite, _threat(options.epsilons), options.folder)
    judge = Judge(contender, attackers, suite, _threat(options.epsilons), _threat(options.own_epsilons))
    ledger = Ledger(options.folder / "verdicts")
    digest = network_digest(contender.network)
    found = []
    for index, block in enumerate(blocks(base.judged(options.part, options.n), options.block)):
        context = [digest, _identity(attackers, judge, block), options.threads]
        found.append(ledger.get(context, partial(judge.block, block)))
        done = f"{contender.name} x {contender.members}, {name}: {(index + 1) * options.block} points"
        console.print(done, highlight=False)
    result = outcome(found, judge.threat, {row.id: row.knowledge for row in attackers.rows})
    measure = partial(forward_ratio, contender.network, base.network, base.judged(options.part, 128).inputs)
    cost = ledger.get([digest, "forward"], lambda: {"ratio": measure()})
    return {
        "contender": contender.name,
        "members": contender.members,
        "suite": f"{name} v{suite.version}",
        "epsilons": options.epsilons,
        "own_epsilons": options.own_epsilons,
        **result,
        "not_run": {row.id: reason for row in attackers.rows if (reason := attackers.reason_against(row))},
        "generation_seconds": contender.seconds,
        "kept_step": contender.kept_step,
        "forward_ratio": cost["ratio"],
    }


def _threat(of_255: list[float]) -> ThreatModel:
    return ThreatModel(norm="linf", epsilons=tuple(radius / 255 for radius in of_255))


def _identity(attackers: Attackers, judge: Judge, block: Block) -> list[object]:
    examples = [attackers.identity(row) for row in attackers.runnable()]
    return [
        examples,
        [row.to_dict() for row in judge.rows(True)],
        judge.threat.to_dict(),
        judge.own.to_dict(),
        block.digest,
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontier", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="work folder: ensembles, examples, verdicts")
    parser.add_argument("--base", choices=BASES, default="sharp")
    parser.add_argument("--part", choices=PARTS, default="validation")
    parser.add_argument("--n", type=int, default=300, help="points that are attacked")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the group elements")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[1, 2, 4, 8], help="of 255, ascending")
    parser.add_argument(
        "--own-epsilons", type=float, nargs="+", default=[2, 4], help="those of attacks on the contender itself"
    )
    parser.add_argument("--contenders", nargs="*", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument(
        "--variants", default="{}", help='JSON: {"name": {"preset": "hardened", "scale": 0.6, "hardening.steps": 900}}'
    )
    parser.add_argument("--suite", choices=SUITES, default="quick")
    parser.add_argument(
        "--full",
        nargs="*",
        choices=CONTENDERS,
        default=[name for name in ("base", "balanced", "hardened") if name in CONTENDERS],
    )
    parser.add_argument("--full-suite", choices=SUITES, default="standard", help="of the contenders named by --full")
    parser.add_argument("--block", type=int, default=50, help="points per unit of work")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
