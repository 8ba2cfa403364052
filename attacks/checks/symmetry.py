"""Family E: does the symmetry itself do what is said of it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from attacks.checks.outcome import Outcome, graded, not_run
from attacks.findings import Findings
from attacks.gains import Comparison
from attacks.jury import NOISE
from attacks.statistics import ALPHA

Comparisons = tuple[Comparison, ...]
#: The share of verdicts in which two white-box runs may differ that see the same function with other rounding.
SEPARATE_RUNS = 0.006


def null_test(findings: Findings, _: Comparisons) -> Outcome:
    """E1: an exact-symmetry ensemble of the base is the base, to the evaluator too."""
    numbers = findings.numbers["null_test"]
    if not numbers["run"]:
        return not_run(f"no exact-symmetry ensemble of this base can be built: {numbers['reason']}")
    reasons = []
    if numbers["logit_difference"] > 1e-5:
        reasons.append(f"logits differ by {numbers['logit_difference']:.2g} of their scale")
    if numbers["gradient_cosine_mean"] < 0.999:
        reasons.append(f"input gradients have a mean cosine of {numbers['gradient_cosine_mean']:.4f}")
    if numbers["verdict_changes_beyond_margin"]:
        reasons.append(f"{numbers['verdict_changes_beyond_margin']} verdicts differ")
    runs, bits = numbers["separate_runs"], numbers["powers_of_two"]
    if runs["differ"] > SEPARATE_RUNS * runs["compared"]:
        reasons.append(f"separate white-box runs differ on {runs['differ']} of {runs['compared']} points and radii")
    if bits["equal"] is False:
        reasons.append(f"scalings by powers of two change {bits['differ']} of {bits['compared']} logits")
    return graded(numbers, fail="; ".join(reasons))


def beats_noise(findings: Findings, comparisons: Comparisons) -> Outcome:
    """E5: the direction of the action matters, not only its length."""
    if NOISE not in findings.clean:
        absent = dict(findings.evaluation.jury.absent)
        return not_run(absent.get(NOISE, "the weight noise is missing"))
    headline = len(findings.evaluation.threats[0].epsilons) - 1
    item = next(c for c in comparisons if c.over == NOISE and c.threat == 0 and c.epsilon == headline)
    numbers = {"b": item.gain.b, "c": item.gain.c, "gain": item.gain.gain, "p": item.gain.p, "p_holm": item.p_holm}
    # No gain is claimed without noise of equal accuracy, so noise that is better is a warning here, never a FAIL.
    if item.gain.p_reverse <= ALPHA:
        return graded(numbers, warn="weight noise of equal norm is better than the target, significantly")
    if item.p_holm > ALPHA:
        return graded(numbers, warn="the target is not significantly better than weight noise of equal norm")
    return graded(numbers, warn="better than weight noise of equal norm; weight noise of equal accuracy was not run")


CHECKS: Mapping[str, Callable[[Findings, Comparisons], Outcome]] = MappingProxyType(
    {"E1": null_test, "E5": beats_noise}
)
