"""Family B: are the attacks as strong as they should be, or are gradients masked."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.stats import binom

from attacks.checks.outcome import Outcome, graded, not_run
from attacks.findings import Findings, Run
from attacks.gains import HIGHER, Comparison
from attacks.jury import BASE, SCRAMBLED
from attacks.metrics import Flags, discordant, leak_flags
from attacks.statistics import ALPHA, mcnemar

Comparisons = tuple[Comparison, ...]


def _at_home(findings: Findings) -> Iterator[tuple[int, str, list[Run]]]:
    """Yield (threat, judge, gradient attacks crafted on that judge): where an attack must be at its strongest."""
    for threat in range(len(findings.evaluation.threats)):
        for judge, knowledge in ((BASE, "stolen_base"), (findings.target, "white_box")):
            runs = [r for r in findings.runs if r.threat == threat and r.row.knowledge == knowledge and r.row.gradient]
            yield threat, judge, runs


def _weaker(stronger: Flags, weaker: Flags) -> tuple[int, float]:
    """Return (how many more points the supposedly stronger attack leaves, p that this is no accident)."""
    b, c = discordant(stronger, weaker)
    return b - c, mcnemar(b, c)


def iterative_beats_single(findings: Findings, _: Comparisons) -> Outcome:
    """B1: on the network it was crafted on, PGD leaves no more points than FGSM."""
    cells = []
    for threat, judge, runs in _at_home(findings):
        singles = [run for run in runs if run.row.single_step]
        for run in (run for run in runs if not run.row.single_step):
            cells += [_cell(findings, threat, judge, run, other) for other in singles]
    return _graded_cells([cell for group in cells for cell in group], "the iterative attack is weaker than FGSM")


def _cell(findings: Findings, threat: int, judge: str, strong: Run, weak: Run) -> list[dict[str, Any]]:
    epsilons = findings.evaluation.threats[threat].epsilons
    pairs = zip(epsilons, findings.raw(strong, judge), findings.raw(weak, judge), strict=True)
    rows = []
    for epsilon, first, second in pairs:
        excess, p = _weaker(first, second)
        name = f"{strong.row.id} against {weak.row.id} on {judge}"
        rows.append({"what": name, "epsilon": epsilon, "points_more": excess, "p": p})
    return rows


def _graded_cells(cells: list[dict[str, Any]], sentence: str) -> Outcome:
    if not cells:
        return not_run("the suite has no two attacks to compare")
    bad = [cell for cell in cells if cell["points_more"] > 0]
    significant = [cell for cell in bad if cell["p"] <= ALPHA]
    numbers = {"compared": len(cells), "violations": bad}
    text = f"{sentence} in {len(bad)} of {len(cells)} comparisons"
    return graded(numbers, fail=f"{text}, significantly" if significant else "", warn=text if bad else "")


def monotone(findings: Findings, _: Comparisons) -> Outcome:
    """B2: on the network it was crafted on and on the target, raw accuracy falls with epsilon."""
    cells = []
    for run in (run for run in findings.runs if not run.row.single_step):
        epsilons = findings.evaluation.threats[run.threat].epsilons
        for judge in sorted({run.judge, findings.target} & set(run.held)):
            raw = findings.raw(run, judge)
            for index in range(1, len(epsilons)):
                excess, p = _weaker(raw[index], raw[index - 1])
                what = f"{run.row.id} on {judge}"
                cells.append({"what": what, "epsilon": epsilons[index], "points_more": excess, "p": p})
    if not cells:
        return not_run("a single epsilon: there is nothing to compare")
    return _graded_cells(cells, "raw accuracy rises with epsilon")


def leaks(findings: Findings, _: Comparisons) -> Outcome:
    """B11: points that white-box gradients cannot break and a weaker attack can."""
    worst: dict[str, Any] = {"leak_rate": 0.0, "points": 0}
    for threat, model in enumerate(findings.evaluation.threats):
        runs = findings.runs_on(threat, "white_box", findings.target)
        strong = [run.held[findings.target] for run in runs if run.row.knowledge == "white_box" and run.row.gradient]
        weak = [run.held[findings.target] for run in runs if run.row.knowledge != "white_box"]
        if not strong or not weak:
            return not_run("the suite has no white-box attack, or no weaker one to compare it with")
        counts = leak_flags(findings.clean[findings.target], strong, weak).sum(axis=1)
        index = int(np.argmax(counts))
        if counts[index] > worst["points"]:
            worst = {"points": int(counts[index]), "norm": model.norm, "epsilon": model.epsilons[index]}
            worst["leak_rate"] = worst["points"] / findings.n
    share, p = worst["leak_rate"], mcnemar(worst["points"], 0)
    text = f"{100 * share:.2f} points are held by the white-box attack and lost to a weaker one"
    numbers = {**worst, "p": p}
    return graded(numbers, fail=text if share > 0.01 and p <= ALPHA else "", warn=text if share > 0.002 else "")


def noise_is_weakest(findings: Findings, _: Comparisons) -> Outcome:
    """B13: the best of the noise draws breaks no more than a gradient attack on its own ground."""
    cells = []
    for threat, judge, runs in _at_home(findings):
        noise = [run for run in findings.runs if run.threat == threat and not run.row.gradient and judge in run.held]
        cells += [_cell(findings, threat, judge, run, other) for run in runs for other in noise]
    return _graded_cells([cell for group in cells for cell in group], "a gradient attack is weaker than noise")


def control_is_destroyed(findings: Findings, comparisons: Comparisons) -> Outcome:
    """B14: the scrambled control knows nothing, and no comparison called HIGHER is void."""
    if SCRAMBLED not in findings.clean:
        absent = dict(findings.evaluation.jury.absent)
        return not_run(absent.get(SCRAMBLED, "the scrambled control is missing"))
    right, n = int(findings.clean[SCRAMBLED].sum()), findings.n
    constant = findings.chance
    p = _binomial_above(right, n, constant / n)
    voids = sum(item.outcome == "VOID" for item in comparisons)
    higher = sum(item.outcome == HIGHER for item in comparisons)
    numbers = {"right": right, "n": n, "chance": constant, "p_above_chance": p, "void": voids, "higher": higher}
    warn = f"{voids} comparisons are VOID: at or below chance or the scrambled control" if voids else ""
    if p <= ALPHA:
        warn = f"the scrambled control is not destroyed: {right} of {n} clean points right; {warn}".rstrip("; ")
    return graded(numbers, warn=warn)


def _binomial_above(k: int, n: int, share: float) -> float:
    return float(binom.sf(k - 1, n, share))


CHECKS: Mapping[str, Callable[[Findings, Comparisons], Outcome]] = MappingProxyType(
    {
        "B1": iterative_beats_single,
        "B2": monotone,
        "B11": leaks,
        "B13": noise_is_weakest,
        "B14": control_is_destroyed,
    }
)
