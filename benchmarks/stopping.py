"""How many of 16 members does early stopping need, and does it change a label?

ResNet-20 trained on images 0 to 44999 of JPEG-re-encoded CIFAR-10, clean test images: exact stopping under `vote`
(floor: a majority) and `prob`, and a margin rule fitted on images 45000 and up, which neither the base nor generation
has seen, for a stated disagreement of at most 0.1 %.
"""

import argparse
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

import ensemble
from benchmarks.record import write
from benchmarks.shared_data import ENCODING, cifar10_jpeg, soft_resnet20
from ensemble.aggregation import MajorityVote, MeanProbability
from ensemble.stopping import ExactRule, StoppingRule, fit_margin_rule, until_decided


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--n", type=int, default=5000, help="test images")
    parser.add_argument("--fit", type=int, default=5000, help="validation images the margin rule is fitted on")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    calibration = cifar10_jpeg("train", 0, 500)[0]
    many = ensemble.generate(
        soft_resnet20(1), calibration, members=options.members, rng=torch.Generator().manual_seed(0)
    )
    generation = time.perf_counter() - begin
    fit = _logits(many, cifar10_jpeg("train", 45000, 45000 + options.fit)[0])
    test = _logits(many, cifar10_jpeg("test", 0, options.n)[0])
    prob, vote = ExactRule(MeanProbability()), ExactRule(MajorityVote())
    rules: dict[str, tuple[StoppingRule, ExactRule]] = {"exact, vote": (vote, vote), "exact, prob": (prob, prob)}
    for name, exact in (("vote", vote), ("prob", prob)):
        rules[f"margin, {name}, 0.1 %"] = (fit_margin_rule(exact, fit, disagreement=1e-3), exact)
    rows = []
    for name, (rule, exact) in rules.items():
        decision = until_decided(
            torch.arange(options.n), size=many.size, block=1, rule=rule, run=lambda x, members: test[members][:, x]
        )
        full = exact.aggregation(test).argmax(-1)
        rows.append(
            {
                "rule": name,
                "share_of_members": float(decision.members_used.double().mean()) / many.size,
                "labels_changed": int((decision.labels != full).sum()),
                "n": options.n,
            }
        )
    table = Table(title=f"{many.size} members, {options.n} clean images, {ENCODING}; generated in {generation:.0f} s")
    for heading in ("rule", "share of members used", "labels changed"):
        table.add_column(heading)
    for row in rows:
        table.add_row(str(row["rule"]), f"{row['share_of_members']:.1%}", f"{row['labels_changed']} of {row['n']}")
    Console().print(table)
    result = {"data": ENCODING, "generation_seconds": generation, "rows": rows}
    write("stopping", __doc__ or "", result, settings=vars(options))


def _logits(many: ensemble.SymmetryEnsemble, inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([many.member_logits(part) for part in inputs.split(128)], dim=1)


if __name__ == "__main__":
    main()
