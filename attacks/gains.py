"""Paired comparisons of the target with each baseline, and the word each of them allows."""

from dataclasses import dataclass

from attacks.findings import Findings
from attacks.jury import BASE, NOISE, SCRAMBLED
from attacks.metrics import discordant
from attacks.statistics import ALPHA, Gain, holm, minimum_detectable_gain, paired_gain, wilson
from attacks.threat import KNOWLEDGE

VOID = "VOID"
LOSS = "LOSS"
HIGHER = "HIGHER"
#: A symmetry gain must beat weight noise of equal accuracy; where that was not run, nothing is claimed.
NO_CLAIM = "NO CLAIM (weight_noise_equal_accuracy was not run)"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The target against one baseline, at one epsilon, under one kind of knowledge.

    Attributes:
        threat: index of the threat model.
        knowledge: a key of `attacks.threat.KNOWLEDGE`.
        epsilon: index of the radius.
        over: the baseline's name.
        gain: the paired difference.
        p_holm: p adjusted over all comparisons of the evaluation.
        mdg: the minimum detectable gain at the observed share of discordant points, or None.
        outcome: VOID, LOSS, HIGHER, or NO DETECTABLE GAIN with its mdg.
    """

    threat: int
    knowledge: str
    epsilon: int
    over: str
    gain: Gain
    p_holm: float
    mdg: float | None
    outcome: str


def compare(findings: Findings) -> tuple[Comparison, ...]:
    """Return every comparison of an evaluation, Holm-adjusted together.

    Args:
        findings: all verdicts.

    Returns:
        In the order threat model, knowledge, epsilon, baseline.
    """
    cells = [
        (threat, knowledge, epsilon, over)
        for threat, model in enumerate(findings.evaluation.threats)
        for knowledge in KNOWLEDGE
        for epsilon in range(len(model.epsilons))
        for over in _baselines(findings, knowledge)
    ]
    gains = [_gain(findings, *cell) for cell in cells]
    adjusted = holm([gain.p for gain in gains])
    return tuple(
        _comparison(findings, *cell, gain, p_holm) for cell, gain, p_holm in zip(cells, gains, adjusted, strict=True)
    )


def _baselines(findings: Findings, knowledge: str) -> list[str]:
    return [name for name in (BASE, NOISE, SCRAMBLED) if name in findings.judges(knowledge)]


def _gain(findings: Findings, threat: int, knowledge: str, epsilon: int, over: str) -> Gain:
    first, second = (findings.robust(threat, knowledge, name)[epsilon] for name in (findings.target, over))
    return paired_gain(*discordant(first, second), findings.n)


def _comparison(
    findings: Findings, threat: int, knowledge: str, epsilon: int, over: str, gain: Gain, p_holm: float
) -> Comparison:
    mdg = minimum_detectable_gain(findings.n, (gain.b + gain.c) / findings.n)
    void = bool(void_reasons(findings, threat, knowledge, epsilon))
    return Comparison(threat, knowledge, epsilon, over, gain, p_holm, mdg, judge(gain, p_holm, mdg, void=void))


def judge(gain: Gain, p_holm: float, mdg: float | None, *, void: bool) -> str:
    """Return the word that one paired comparison allows.

    Args:
        gain: the paired difference with its raw p values.
        p_holm: the adjusted p value.
        mdg: the minimum detectable gain, or None.
        void: whether the target is at or below chance or the scrambled control.

    Returns:
        VOID, LOSS, HIGHER, or the words of `no_detectable_gain`.
    """
    if void:
        return VOID
    if gain.p_reverse <= ALPHA:
        return LOSS
    if p_holm <= ALPHA and mdg is not None and gain.gain >= mdg:
        return HIGHER
    return no_detectable_gain(gain, mdg)


def no_detectable_gain(gain: Gain, mdg: float | None) -> str:
    """Return the outcome of a comparison that shows nothing, with what it could have shown.

    Args:
        gain: the paired difference, for its discordant points.
        mdg: the minimum detectable gain; None where even one-sided discordant points would not have been enough.
    """
    if mdg is not None:
        return f"NO DETECTABLE GAIN (mdg = {100 * mdg:.1f} points)"
    count = gain.b + gain.c
    few = f"{count} discordant {'point is' if count == 1 else 'points are'} too few for the test"
    return f"NO DETECTABLE GAIN (mdg = none: {few if count else 'no point tells the two apart'})"


def void_reasons(findings: Findings, threat: int, knowledge: str, epsilon: int) -> list[str]:
    """Return why an accuracy of the target is worth nothing: it meets chance, or a network that knows nothing.

    Args:
        findings: all verdicts.
        threat: index of the threat model.
        knowledge: a key of `attacks.threat.KNOWLEDGE`.
        epsilon: index of the radius.

    Returns:
        Reasons; empty where a gain may count. The control is compared where it faced the same attacks.
    """
    own = findings.robust(threat, knowledge, findings.target)[epsilon]
    low, _ = wilson(int(own.sum()), findings.n)
    reasons = [] if low > findings.chance / findings.n else ["chance_accuracy"]
    if SCRAMBLED in findings.judges(knowledge) and _gain(findings, threat, knowledge, epsilon, SCRAMBLED).p > ALPHA:
        reasons.append(SCRAMBLED)
    return reasons


def outcome_of(comparisons: list[Comparison]) -> str:
    """Return the outcome of one threat model at one epsilon from its comparisons with base and weight noise.

    A gain is never claimed here: that needs weight noise of equal accuracy and several group seeds.

    Args:
        comparisons: of one (threat, knowledge, epsilon).

    Returns:
        VOID, LOSS, NO DETECTABLE GAIN, or NO CLAIM.
    """
    relevant = [item for item in comparisons if item.over in (BASE, NOISE)]
    for word in (VOID, LOSS):
        if any(item.outcome == word for item in relevant):
            return word
    for item in relevant:
        if item.outcome != HIGHER:
            return no_detectable_gain(item.gain, item.mdg)
    return NO_CLAIM
