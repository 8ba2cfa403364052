"""Family A: is what was measured what the report says."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from attacks.checks.outcome import Outcome, graded, not_run
from attacks.findings import Findings
from attacks.gains import Comparison
from attacks.jury import BASE
from attacks.metrics import discordant
from attacks.statistics import ALPHA, paired_gain, wilson
from ensemble.digests import tensor_digest

Comparisons = tuple[Comparison, ...]


def eval_mode(findings: Findings, _: Comparisons) -> Outcome:
    """A1: nothing trains, and no weight or buffer moved while shards ran."""
    expected = findings.evaluation.jury.digests
    moved = sorted(judge for judge, seen in findings.digests.items() if seen != {expected[judge]})
    fail = f"the weights of {', '.join(moved)} changed while it was attacked" if moved else ""
    fail = "a module was in training mode" if findings.training else fail
    return graded({"training": findings.training, "moved": moved}, fail=fail)


def logits_contract(findings: Findings, _: Comparisons) -> Outcome:
    """A2: what the losses receive are logits or log-probabilities."""
    numbers = findings.numbers["logits_contract"]
    return graded(numbers, fail="the target answers probabilities" if numbers["probabilities"] else "")


def ball_and_box(findings: Findings, _: Comparisons) -> Outcome:
    """A3: every example lies in the ball and in the box."""
    runs = (*findings.runs, *findings.audits)
    excess = max(max(run.excess) for run in runs)
    tolerance = findings.evaluation.threats[0].tolerance
    fail = f"an example passes its radius by {excess:.3g}, more than {tolerance:.3g}" if excess > tolerance else ""
    if not all(run.finite for run in runs):
        fail = "an attack returned NaN or infinity"
    return graded({"largest_excess": excess, "tolerance": tolerance}, fail=fail)


def same_verdict(findings: Findings, _: Comparisons) -> Outcome:
    """A4: the serving path answers what foolbox saw while crafting, and `predict` answers what the logits say."""
    flips, verdicts = _flips(findings)
    serving = findings.numbers["serving"]
    share = flips / verdicts
    fail = f"{flips} of {verdicts} verdicts changed" if share > 0.001 else ""
    if serving["label_changes"]:
        fail = (
            f"{serving['path']} answers differently from the attacked logits on {serving['label_changes']} audit points"
        )
    warn = f"{flips} of {verdicts} verdicts changed; see A9" if flips else ""
    return graded({"flips": flips, "verdicts": verdicts, "serving": serving}, fail=fail, warn=warn)


def stable(findings: Findings, _: Comparisons) -> Outcome:
    """A5: repeated forwards agree."""
    numbers = findings.numbers["repeats"]
    bad = numbers["label_changes"] or numbers["difference"] > 1e-4
    return graded(
        numbers, fail="repeated forwards differ: the target is random, which this mode does not judge" if bad else ""
    )


def batch_independent(findings: Findings, _: Comparisons) -> Outcome:
    """A6: a point's answer does not depend on its neighbours."""
    numbers = findings.numbers["batch"]
    fail = f"{numbers['label_changes']} labels depend on the batch size" if numbers["label_changes"] else ""
    warn = (
        f"log-probabilities move by {numbers['difference']:.2g} with the batch size"
        if numbers["difference"] > 1e-4
        else ""
    )
    return graded(numbers, fail=fail, warn=warn)


def clean_accuracy(findings: Findings, _: Comparisons) -> Outcome:
    """A7: the target costs no clean accuracy, and every member is worth more than a constant answer."""
    n, chance = findings.n, findings.chance / findings.n
    counts = {judge: int(flags.sum()) for judge, flags in findings.clean.items()}
    base, target = findings.clean[BASE], findings.clean[findings.target]
    gain = paired_gain(*discordant(target, base), n)
    weak = [name for name in findings.evaluation.jury.members if wilson(counts[name], n)[0] <= chance]
    numbers = {"n": n, "right": counts, "p_target_below_base": gain.p_reverse, "chance_accuracy": chance}
    fail = f"the clean accuracy of {', '.join(weak)} is not above chance" if weak else ""
    warn = "the target's clean accuracy is below the base's, significantly" if gain.p_reverse <= ALPHA else ""
    return graded(numbers, fail=fail, warn=warn)


def disjoint(findings: Findings, _: Comparisons) -> Outcome:
    """A8: no evaluated point was used for calibration or training."""
    evaluation = findings.evaluation
    generation = getattr(evaluation.target, "generation", None)
    own = getattr(generation, "calibration_digest", None)
    used = {*evaluation.calibration_digests, *([own] if own else [])}
    mine = {*evaluation.point_digests, tensor_digest(evaluation.inputs)}
    shared_ids = set(evaluation.data.ids or ()) & set(evaluation.data.used_ids or ())
    numbers = {"digests_compared": len(used), "shared_digests": len(used & mine), "shared_ids": len(shared_ids)}
    if used & mine or shared_ids:
        return graded(numbers, fail="evaluated points were used for calibration or training")
    if evaluation.data.ids is not None and evaluation.data.used_ids is not None:
        return graded(numbers)
    if not used:
        return not_run("neither ids nor digests of the training and calibration points were given")
    return graded(
        numbers, warn="ids are absent: only digests were compared, and a digest of a whole set shows only equality"
    )


def flips(findings: Findings, _: Comparisons) -> Outcome:
    """A9: crafting precision and verdict precision give the same answers."""
    count, verdicts = _flips(findings)
    share = count / verdicts
    fail = f"{count} of {verdicts} verdicts flip between crafting and float32" if share > 0.002 else ""
    return graded({"flips": count, "verdicts": verdicts}, fail=fail, warn=f"{count} verdicts flip" if count else "")


def _flips(findings: Findings) -> tuple[int, int]:
    """Return (verdicts that differ between crafting and the fresh forward, all verdicts compared).

    Under random serving only the runs that judged member by member while crafting can be compared.
    """
    cold = () if findings.evaluation.mode == "random_member" else findings.audits
    runs = [run for run in (*findings.runs, *cold) if run.judge in run.held]
    changed = sum(int(((run.in_attack != run.held[run.judge]) & run.attempted).sum()) for run in runs)
    return changed, max(1, sum(int(run.attempted.sum()) for run in runs))


CHECKS: Mapping[str, Callable[[Findings, Comparisons], Outcome]] = MappingProxyType(
    {
        "A1": eval_mode,
        "A2": logits_contract,
        "A3": ball_and_box,
        "A4": same_verdict,
        "A5": stable,
        "A6": batch_independent,
        "A7": clean_accuracy,
        "A8": disjoint,
        "A9": flips,
    }
)
