"""Family B: are the attacks as strong as they should be, or are gradients masked."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from attacks.checks.audit import POINT, cold, strongest_left
from attacks.checks.outcome import Outcome, graded, not_run
from attacks.findings import Findings, Run
from attacks.gains import HIGHER, Comparison
from attacks.jury import BASE, SCRAMBLED
from attacks.metrics import Flags, discordant
from attacks.statistics import ALPHA, binomial_above, mcnemar

Comparisons = tuple[Comparison, ...]
#: How many points of accuracy a weaker attack may find beyond white-box gradients, before it is worth a word.
SMALL_LEAK = 0.002
#: Kinds that climb the loss of the network itself. Those that climb the loss of transformed inputs give up strength at
#: home for strength elsewhere.
STRAIGHT = frozenset({"fgsm", "pgd", "mi", "apgd_ce"})


def _at_home(findings: Findings) -> Iterator[tuple[int, str, list[Run]]]:
    """Yield (threat, judge, cold attacks crafted on that judge): where an attack must be at its strongest.

    On the target these are the audit runs: what a cascade leaves to an attack are the points others did not break.
    """
    for threat in range(len(findings.evaluation.threats)):
        base = [r for r in findings.runs if r.threat == threat and r.row.knowledge == "stolen_base" and r.cold]
        yield threat, BASE, [run for run in base if BASE in run.held and run.row.kind in STRAIGHT]
        yield threat, findings.target, list(cold(findings, threat))


def _weaker(stronger: Flags, weaker: Flags) -> tuple[int, float]:
    """Return (how many more points the supposedly stronger attack leaves, p that this is no accident)."""
    b, c = discordant(stronger, weaker)
    return b - c, mcnemar(b, c)


def _cells(findings: Findings, judge: str, strong: Run, weak: Run) -> list[dict[str, Any]]:
    """Compare two attacks radius by radius, on the points where both were made."""
    rows = []
    for index, epsilon in enumerate(strong.epsilons):
        points = strong.attempted[index] & weak.attempted[index]
        if not points.any():
            continue
        sides = (findings.raw(run, judge)[index][points] for run in (strong, weak))
        excess, p = _weaker(*sides)
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


def iterative_beats_single(findings: Findings, _: Comparisons) -> Outcome:
    """B1: on the network it was crafted on, an iterative attack leaves no more points than FGSM."""
    cells = []
    for _threat, judge, runs in _at_home(findings):
        gradient = [run for run in runs if run.row.gradient and not run.row.transformed]
        singles = [run for run in gradient if run.row.single_step]
        for run in (run for run in gradient if not run.row.single_step):
            cells += [cell for other in singles for cell in _cells(findings, judge, run, other)]
    return _graded_cells(cells, "the iterative attack is weaker than FGSM")


def monotone(findings: Findings, _: Comparisons) -> Outcome:
    """B2: on the network it was crafted on, raw accuracy falls with epsilon."""
    cells = []
    for _threat, judge, runs in _at_home(findings):
        for run in (run for run in runs if not run.row.single_step):
            raw = findings.raw(run, judge)
            for index in range(1, len(run.epsilons)):
                points = run.attempted[index] & run.attempted[index - 1]
                if not points.any():
                    continue
                excess, p = _weaker(raw[index][points], raw[index - 1][points])
                what = f"{run.row.id} on {judge}"
                cells.append({"what": what, "epsilon": run.epsilons[index], "points_more": excess, "p": p})
    if not cells:
        return not_run("a single epsilon: there is nothing to compare")
    return _graded_cells(cells, "raw accuracy rises with epsilon")


def leaks(findings: Findings, _: Comparisons) -> Outcome:
    """B11: points that cold white-box gradients cannot break and an attack without them can."""
    worst: dict[str, Any] = {"leak_rate": 0.0, "points": 0, "compared": 0}
    for threat, model in enumerate(findings.evaluation.threats):
        strong = strongest_left(findings, threat)
        weak = [r for r in findings.runs_on(threat, "white_box", findings.target) if r.row.knowledge != "white_box"]
        if strong is None or not weak:
            return not_run("the suite has no cold white-box attack, or no weaker one to compare it with")
        held, attacked = np.logical_and.accumulate(strong[0], axis=0), strong[1]
        others = np.logical_and.accumulate(np.logical_and.reduce([run.held[findings.target] for run in weak]), axis=0)
        lost = findings.clean[findings.target] & held & ~others & attacked
        for index in np.flatnonzero(attacked.any(axis=1)):
            compared, points = int(attacked[index].sum()), int(lost[index].sum())
            if points / compared >= worst["leak_rate"]:
                worst = {"leak_rate": points / compared, "points": points, "compared": compared}
                worst |= {"norm": model.norm, "epsilon": model.epsilons[index]}
    return _graded_leak(worst, "held by white-box gradients and lost to noise, transfer or queries")


def queries_win_nothing(findings: Findings, _: Comparisons) -> Outcome:
    """B12: Square and HopSkipJump break nothing that white-box gradients could not."""
    runs = [run for run in findings.runs if run.row.queries and findings.target in run.held]
    if not runs:
        return not_run("the suite has no query attack")
    worst: dict[str, Any] = {"leak_rate": 0.0, "points": 0, "compared": 0}
    for run in runs:
        white = [r for r in findings.runs_on(run.threat, "white_box", findings.target) if _gradients(r)]
        cold_runs = [r for r in cold(findings, run.threat) if r.row.gradient]
        if not white and not cold_runs:
            return not_run("the suite has no white-box attack to compare queries with")
        gradient = [r.held[findings.target][-1] for r in (*white, *cold_runs)]
        # White-box attacks start from the examples made elsewhere: what these fool is lost to them.
        gradient.append(~findings.lost_at_start(run.threat, findings.target)[-1])
        asked = run.attempted[-1]
        lost = (
            asked & findings.clean[findings.target] & np.logical_and.reduce(gradient) & ~run.held[findings.target][-1]
        )
        points, compared = int(lost.sum()), int(asked.sum()) if run.row.points else findings.n
        if compared and points / compared >= worst["leak_rate"]:
            worst = {"leak_rate": points / compared, "points": points, "compared": compared, "attack": run.row.id}
    return _graded_leak(worst, "held by white-box gradients and lost to queries")


def _gradients(run: Run) -> bool:
    return run.row.knowledge == "white_box" and run.row.gradient


def _graded_leak(worst: dict[str, Any], words: str) -> Outcome:
    share, p = worst["leak_rate"], mcnemar(worst["points"], 0)
    text = f"{100 * share:.2f} points of {worst['compared']} are {words}"
    numbers = {**worst, "p": p}
    fail = text if share > POINT and p <= ALPHA else ""
    return graded(numbers, fail=fail, warn=text if share > SMALL_LEAK else "")


def noise_is_weakest(findings: Findings, _: Comparisons) -> Outcome:
    """B13: the best of the noise draws breaks no more than a gradient attack on its own ground."""
    cells = []
    for threat, judge, runs in _at_home(findings):
        noise = [run for run in findings.runs if run.threat == threat and run.row.kind == "noise" and judge in run.held]
        gradient = [run for run in runs if run.row.gradient and not run.row.transformed]
        cells += [cell for run in gradient for other in noise for cell in _cells(findings, judge, run, other)]
    return _graded_cells(cells, "a gradient attack is weaker than noise")


def control_is_destroyed(findings: Findings, comparisons: Comparisons) -> Outcome:
    """B14: the scrambled control knows nothing, and no comparison called HIGHER is void."""
    if SCRAMBLED not in findings.clean:
        absent = dict(findings.evaluation.jury.absent)
        return not_run(absent.get(SCRAMBLED, "the scrambled control is missing"))
    right, n = int(findings.clean[SCRAMBLED].sum()), findings.n
    constant = findings.chance
    p = binomial_above(right, n, constant / n)
    voids = sum(item.outcome == "VOID" for item in comparisons)
    higher = sum(item.outcome == HIGHER for item in comparisons)
    numbers: dict[str, Any] = {
        "right": right,
        "n": n,
        "chance": constant,
        "p_above_chance": p,
        "void": voids,
        "higher": higher,
    }
    numbers |= findings.evaluation.jury.notes.get(SCRAMBLED, {})
    warn = f"{voids} comparisons are VOID: at or below chance or the scrambled control" if voids else ""
    if p <= ALPHA:
        warn = f"the scrambled control is not destroyed: {right} of {n} clean points right; {warn}".rstrip("; ")
    return graded(numbers, warn=warn)


CHECKS: Mapping[str, Callable[[Findings, Comparisons], Outcome]] = MappingProxyType(
    {
        "B1": iterative_beats_single,
        "B2": monotone,
        "B11": leaks,
        "B12": queries_win_nothing,
        "B13": noise_is_weakest,
        "B14": control_is_destroyed,
    }
)
