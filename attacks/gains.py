"""Paired comparisons of the target with each baseline, and the word each of them allows."""

from dataclasses import dataclass

from attacks.findings import Findings
from attacks.jury import BASE, EQUAL_ACCURACY, INDEPENDENT, NOISE, SCRAMBLED
from attacks.metrics import discordant
from attacks.statistics import ALPHA, Gain, holm, minimum_detectable_gain, paired_gain, wilson
from attacks.threat import KNOWLEDGE

VOID = "VOID"
LOSS = "LOSS"
HIGHER = "HIGHER"
GAIN = "GAIN"
#: A symmetry gain must beat weight noise of equal accuracy; where that was not run, nothing is claimed.
NO_CLAIM = "NO CLAIM (weight_noise_equal_accuracy was not run)"
NOT_COMPARED = "NOT COMPARED (no baseline was attacked with these queries)"
#: One draw of the group is an anecdote: the word GAIN needs so many, the least of their gains counts.
LEAST_DRAWS = 5
#: The networks that the target is compared with.
BASELINES = (BASE, NOISE, EQUAL_ACCURACY, INDEPENDENT, SCRAMBLED)
#: A gain must beat both; other comparisons are printed beside them.
DECISIVE = (BASE, EQUAL_ACCURACY)
#: An attacker that crafts on the independent networks attacks them white-box: a gain over them would say nothing.
OWN_NETWORKS = ("retrained_surrogate", INDEPENDENT)


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
        per_draw: the gain of the target and of every other group draw, over the same baseline.
    """

    threat: int
    knowledge: str
    epsilon: int
    over: str
    gain: Gain
    p_holm: float
    mdg: float | None
    outcome: str
    per_draw: tuple[float, ...] = ()


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
        if findings.target in findings.judges(knowledge)
        for epsilon in range(len(model.epsilons))
        for over in _baselines(findings, knowledge)
    ]
    gains = [_gain(findings, *cell) for cell in cells]
    adjusted = holm([gain.p for gain in gains])
    return tuple(
        _comparison(findings, *cell, gain, p_holm) for cell, gain, p_holm in zip(cells, gains, adjusted, strict=True)
    )


def _baselines(findings: Findings, knowledge: str) -> list[str]:
    judged = findings.judges(knowledge)
    return [name for name in BASELINES if name in judged and (knowledge, name) != OWN_NETWORKS]


def _gain(findings: Findings, threat: int, knowledge: str, epsilon: int, over: str) -> Gain:
    return _gain_of(findings, findings.target, threat, knowledge, epsilon, over)


def _gain_of(findings: Findings, own: str, threat: int, knowledge: str, epsilon: int, over: str) -> Gain:
    first, second = (findings.robust(threat, knowledge, name)[epsilon] for name in (own, over))
    return paired_gain(*discordant(first, second), findings.n)


def _per_draw(findings: Findings, threat: int, knowledge: str, epsilon: int, over: str) -> tuple[float, ...]:
    draws = [name for name in findings.evaluation.jury.draws if name in findings.judges(knowledge)]
    names = (findings.target, *draws)
    return tuple(_gain_of(findings, name, threat, knowledge, epsilon, over).gain for name in names)


def _comparison(
    findings: Findings, threat: int, knowledge: str, epsilon: int, over: str, gain: Gain, p_holm: float
) -> Comparison:
    mdg = minimum_detectable_gain(findings.n, (gain.b + gain.c) / findings.n)
    void = bool(void_reasons(findings, threat, knowledge, epsilon))
    word = judge(gain, p_holm, mdg, void=void)
    per_draw = _per_draw(findings, threat, knowledge, epsilon, over)
    return Comparison(threat, knowledge, epsilon, over, gain, p_holm, mdg, word, per_draw)


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
    """Return the outcome of one threat model at one epsilon from its comparisons with the baselines that decide.

    Args:
        comparisons: of one (threat, knowledge, epsilon).

    Returns:
        VOID, LOSS, NO DETECTABLE GAIN, NO CLAIM with what is missing, or GAIN.
    """
    if not comparisons:
        return NOT_COMPARED
    decisive = [item for item in comparisons if item.over in DECISIVE]
    # Equal-norm noise decides nothing, but a target that is worse than it has lost.
    relevant = [*decisive, *(item for item in comparisons if item.over == NOISE)]
    for word in (VOID, LOSS):
        if any(item.outcome == word for item in relevant):
            return word
    for item in decisive:
        if item.outcome != HIGHER:
            return no_detectable_gain(item.gain, item.mdg)
    return _claim(decisive)


def _claim(decisive: list[Comparison]) -> str:
    """Return what may be said where every comparison that was made is HIGHER."""
    if {item.over for item in decisive} != set(DECISIVE):
        return NO_CLAIM
    draws = min(len(item.per_draw) for item in decisive)
    if draws < LEAST_DRAWS:
        return f"NO CLAIM (group draws judged: {draws}, needed: {LEAST_DRAWS})"
    least = min(min(item.per_draw) for item in decisive)
    if least <= 0:
        return f"NO CLAIM (the least gain over {draws} group draws is {100 * least:.1f} points)"
    return f"{GAIN} (at least {100 * least:.1f} points over {draws} group draws)"
