"""Verdicts of shards become arrays, whatever part of the points and radii they are about.

Seen to fail with: a cascade's losses not carried to larger radii; the points lost at the start left out; a cold run on
part of the points written to the first points; a run at the largest radii written to the smallest.
"""

from typing import Any

import numpy as np

from attacks.evaluation import Evaluation
from attacks.findings import gather
from attacks.jury import BASE
from attacks.shards import plan

Results = dict[str, dict[str, Any]]


def test_a_cascade_only_loses(evaluation: Evaluation, results: Results) -> None:
    """Its verdicts fall with epsilon, and with the points lost at the start they are those of the worst case."""
    findings = gather(evaluation, [results[shard.key] for shard in plan(evaluation)])
    for judge in evaluation.jury.attacked:
        runs = [run for run in findings.runs if not run.cold and run.judge == judge]
        assert len(runs) == 2
        left = ~findings.lost_at_start(0, judge) & findings.clean[judge]
        for run in runs:
            assert not (run.held[judge][1:] & ~run.held[judge][:-1]).any()
            assert np.array_equal(run.in_attack, run.held[judge])
            assert not (run.broken & ~run.attempted).any()
            left &= run.held[judge]
        # Noise is no start: a point may be lost to it alone.
        assert not (findings.robust(0, "white_box", judge) & ~left).any()
        assert int(left.sum()) - int(findings.robust(0, "white_box", judge).sum()) <= 2


def test_a_cold_run_says_nothing_about_other_points(evaluation: Evaluation, results: Results) -> None:
    """Where it was not run its verdict is True and `attempted` False; where it was run both are its own."""
    findings = gather(evaluation, [results[shard.key] for shard in plan(evaluation)])
    part = evaluation.subset(40).numpy()
    shard = next(shard for shard in plan(evaluation) if shard.attack == "audit-fgsm")
    (record,) = results[shard.key]["runs"]
    kept = np.isin(record["points"], part)
    cut = record | {
        "points": [point for point, keep in zip(record["points"], kept, strict=True) if keep],
        "held": {name: [_some(bits, kept) for bits in rungs[1:]] for name, rungs in record["held"].items()},
        "in_attack": [_some(bits, kept) for bits in record["in_attack"][1:]],
    }
    changed = results | {shard.key: results[shard.key] | {"runs": [cut]}}
    run = gather(evaluation, [changed[item.key] for item in plan(evaluation)]).audit(0, "audit-fgsm")
    whole = findings.audit(0, "audit-fgsm")
    assert run is not None
    assert whole is not None
    others = np.setdiff1d(np.arange(100), part)
    assert not run.attempted[:, others].any()
    assert not run.attempted[0].any()
    assert run.attempted[1:, part].all()
    assert run.held["ensemble"][:, others].all()
    assert run.held["ensemble"][0].all()
    assert np.array_equal(run.held["ensemble"][1:, part], whole.held["ensemble"][1:, part])


def test_who_is_judged_under_what(evaluation: Evaluation, results: Results) -> None:
    """Members face examples made elsewhere; the white box attacks base, target and the networks compared with it."""
    findings = gather(evaluation, [results[shard.key] for shard in plan(evaluation)])
    assert findings.knowledge == ("stolen_base", "fresh_members", "white_box")
    assert set(findings.judges("stolen_base")) == set(evaluation.jury.names)
    assert set(findings.judges("white_box")) == {BASE, "ensemble", "scrambled_control", "weight_noise_equal_norm"}
    assert findings.judges("score_query") == ()


def _some(bits: str, kept: Any) -> str:
    return "".join(bit for bit, keep in zip(bits, kept, strict=True) if keep)
