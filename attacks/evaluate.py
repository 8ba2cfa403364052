"""`evaluate`: all shards of an evaluation, one after the other, in this process.

What runs attacks is imported by the call: who imports the package to read a report loads no attack library.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from attacks.data import DataDescription, LabelledData
from attacks.report import EvaluationReport
from attacks.schema import NotRun
from attacks.threat import ThreatModel
from ensemble.generate import Progress

if TYPE_CHECKING:
    from attacks.evaluation import Evaluation


def evaluate(
    target: nn.Module,
    *,
    base: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    threat: ThreatModel | Sequence[ThreatModel],
    suite: str = "quick",
    mode: str = "prob",
    rng: torch.Generator,
    attacker: LabelledData | None = None,
    validation: LabelledData | None = None,
    calibration_digests: Sequence[str] = (),
    data: DataDescription | None = None,
    independents: Sequence[nn.Module] = (),
    progress: Callable[[Progress], None] | None = None,
) -> EvaluationReport:
    """Return what a network or ensemble is worth against a suite of attacks.

    The networks are neither changed nor moved: attacks run on the device where the weights are.

    Args:
        target: a classifier in eval mode that answers logits `[batch classes]`; an ensemble also `member_logits`.
        base: the network an attacker may have stolen.
        inputs: `[n channel height width]` float32 inside the bounds; no point used for calibration or training.
        labels: `[n]` integer classes.
        threat: one threat model or several with equal bounds and different norms; the first carries the headline.
        suite: the name of a list of attacks; "quick" is known today.
        mode: how the target is served; "prob", the mean of the members' probabilities, is known today.
        rng: the only source of randomness; one number is drawn from it.
        attacker: the attacker's own sample; what lacks it is NOT-RUN.
        validation: points that equal-accuracy noise may be fitted on; what lacks them is NOT-RUN.
        calibration_digests: `ensemble.tensor_digest` of calibration or training points, one by one or as a whole.
        data: where the points come from, with their ids where they have any; without it the report calls them unnamed.
        independents: networks trained independently of the base.
        progress: called after each shard.

    Returns:
        The sealed report.

    Raises:
        InputError: malformed points, networks or settings; nothing was run.
    """
    from attacks.evaluation import Evaluation

    seed = int(torch.randint(0, 2**63 - 1, (1,), generator=rng, device=rng.device))
    evaluation = Evaluation(
        target=target,
        base=base,
        inputs=inputs,
        labels=labels,
        threat=threat,
        suite=suite,
        mode=mode,
        seed=seed,
        calibration_digests=calibration_digests,
        data=data or DataDescription(),
    )
    report = run_all(evaluation, progress=progress)
    given = {"attacker": attacker, "validation": validation, "independents": independents or None}
    unused = [name for name, value in given.items() if value is not None]
    return _with_unused(report, unused, suite) if unused else report


def run_all(evaluation: "Evaluation", *, progress: Callable[[Progress], None] | None = None) -> EvaluationReport:
    """Return the report of an evaluation, its shards run in order in this process.

    Args:
        evaluation: the context.
        progress: called after each shard.

    Returns:
        The sealed report.
    """
    from attacks.shards import merge, plan, run_shard

    shards = plan(evaluation)
    results: dict[str, dict[str, Any]] = {}
    for done, shard in enumerate(shards, start=1):
        results[shard.key] = run_shard(shard, evaluation)
        if progress is not None:
            progress(Progress(done=done, total=len(shards), message=shard.title))
    return merge(evaluation, results)


def _with_unused(report: EvaluationReport, names: list[str], suite: str) -> EvaluationReport:
    """Say in the report that data was given which no attack of the suite uses."""
    why = f"given, but no attack of the suite {suite!r} uses it yet"
    extra = [NotRun(what=f"{name} data", why=why) for name in names]
    return report.model_copy(update={"not_run": [*report.not_run, *extra]}).sealed()
