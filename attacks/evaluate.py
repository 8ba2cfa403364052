"""`evaluate`: all shards of an evaluation, one after the other, in this process.

What runs attacks is imported by the call: who imports the package to read a report loads no attack library.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from attacks.data import DataDescription, LabelledData
from attacks.report import EvaluationReport
from attacks.threat import ThreatModel
from ensemble.errors import InputError
from ensemble.progress import Progress

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
    datatype: str = "FP32",
    rng: torch.Generator,
    attacker: LabelledData | None = None,
    validation: LabelledData | None = None,
    calibration_digests: Sequence[str] = (),
    data: DataDescription | None = None,
    independents: Sequence[nn.Module] = (),
    other_draws: Sequence[nn.Module] = (),
    draws: int | None = None,
    calibration: Tensor | None = None,
    certify: int = 0,
    undefended: bool = False,
    block: int = 64,
    cache: Path | None = None,
    examples: Path | None = None,
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
        suite: the name of a list of attacks: "quick", "standard" or "thorough".
        mode: how the target is served: "prob", "logit", "vote" or "random_member".
        datatype: how clients send inputs: "FP32", or "UINT8" for UINT8 tensors and image files. Those are rounded to
            256 levels before any network: verdicts are those of the rounded inputs, gradients pass straight through.
        rng: the only source of randomness; one number is drawn from it.
        attacker: the attacker's own sample, disjoint from all others; what lacks it is NOT-RUN.
        validation: points that equal-accuracy noise is fitted on; what lacks them is NOT-RUN.
        calibration_digests: `ensemble.tensor_digest` of calibration or training points, one by one or as a whole.
        data: where the points come from, with their ids where they have any; without it the report calls them unnamed.
        independents: networks trained independently of the base.
        other_draws: further ensembles of the same recipe and other seeds; a gain is claimed over five draws or more.
        draws: how many draws of the group are judged in all; those beside the target and `other_draws` are made here,
            of the target's recipe and `calibration`; None takes the suite's number where that is given.
        calibration: the inputs the target was generated from; needed where draws are made.
        certify: points that interval bounds are computed for, 200 at most; what they certify must never fall.
        undefended: whether the base is known to have been trained without any defence: where it keeps more than 5 % at
            the headline, the attacks are too weak and the report is UNRELIABLE.
        block: points per pass through a network; fewer need less memory, and give other random numbers.
        cache: a folder in which finished work is found again by its content; an interrupted call goes on there.
        examples: a folder in which the examples are kept, so that others can score them again (check F4); with a
            cache and no folder of their own they are kept there.
        progress: called after each shard.

    Returns:
        The sealed report.

    Raises:
        InputError: malformed points, networks or settings; nothing was run.
        LevelsetError: a network failed on a block, memory ran out, or the cache cannot be written; finished shards of
            a cache are kept.
    """
    from attacks.evaluation import Evaluation

    if not isinstance(rng, torch.Generator):
        raise InputError(
            f"rng: expected a torch.Generator, got {type(rng).__name__}; pass torch.Generator().manual_seed(0)"
        )
    if examples is None and cache is not None:
        examples = cache / "examples"
    seed = int(torch.randint(0, 2**63 - 1, (1,), generator=rng, device=rng.device))
    evaluation = Evaluation(
        target=target,
        base=base,
        inputs=inputs,
        labels=labels,
        threat=threat,
        suite=suite,
        mode=mode,
        datatype=datatype,
        block=block,
        seed=seed,
        calibration_digests=calibration_digests,
        data=data or DataDescription(),
        attacker=attacker,
        validation=validation,
        independents=independents,
        other_draws=other_draws,
        draws=draws,
        calibration=calibration,
        certify=certify,
        undefended=undefended,
        examples_folder=examples,
    )
    return run_all(evaluation, cache=cache, progress=progress)


def run_all(
    evaluation: "Evaluation",
    *,
    cache: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> EvaluationReport:
    """Return the report of an evaluation, its shards run in order in this process.

    Args:
        evaluation: the context.
        cache: a folder in which results are found again. Where its examples are kept, a result is judged again; that of
            several draws, or of each member in turn, is taken as stored.
        progress: called after each shard.

    Returns:
        The sealed report.
    """
    from attacks.results_cache import ResultsCache
    from attacks.shards import merge, plan, run_shard

    shards, found = plan(evaluation), ResultsCache(cache)
    results = {}
    for done, shard in enumerate(shards, start=1):
        result = found.get(shard, evaluation)
        if result is None:
            result = run_shard(shard, evaluation)
            found.put(shard, result)
        results[shard.key] = result
        if progress is not None:
            progress(Progress(done=done, total=len(shards), message=shard.title))
    return merge(evaluation, results)
