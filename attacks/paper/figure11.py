"""Figure 11: accuracy under attack of the base, of an ensemble of group members, and of controls.

As published: crafted on the base through a softmax, applied twice, clamped to [0, 1], PGD at unset defaults. Corrected:
one attack in the data's own bounds with declared radius and steps, on logits; also crafted on the ensemble itself;
beside chance, a scrambled ensemble, noise of equal size, and an ensemble of independently trained networks.
"""

from collections.abc import Mapping

from attacks.paper.data import PaperData
from attacks.paper.figure11_curves import EPSILONS, ITERATIONS, SCALE, Corrected, Curves, published_curves
from attacks.paper.networks import HIDDEN, leaky
from attacks.paper.ranges import mean_interval, prediction_range
from attacks.paper.settings import DEFAULT as SHARED_DEFAULT
from attacks.paper.settings import OFFICIAL, Settings, described, horizon, is_full, trained
from ensemble.paper.defects import defects_of
from ensemble.paper.values import Comparison, Line, Panel, Report, Stroke, Track, TrackName

NUMBER = 11
TITLE = "Accuracy under attack"
DEFAULT = SHARED_DEFAULT
CHANCE = 0.1
#: Official accuracies, mean softmax, n = 1000, at EPSILONS and at ITERATIONS.
OFFICIAL_FGSM: Mapping[str, tuple[float, ...]] = {
    "original": (0.598, 0.210, 0.133, 0.066, 0.028),
    "group": (0.538, 0.223, 0.158, 0.109, 0.083),
    "random": (0.095, 0.099, 0.111, 0.082, 0.082),
    "shuffle": (0.102, 0.089, 0.114, 0.098, 0.109),
    "g⁻¹": (0.089, 0.115, 0.101, 0.106, 0.100),
    "perm-interp": (0.556, 0.225, 0.132, 0.078, 0.036),
}
OFFICIAL_PGD: Mapping[str, tuple[float, ...]] = {
    "original": (0.576, 0.006, 0.000, 0.000),
    "group": (0.460, 0.038, 0.002, 0.026),
    "g⁻¹": (0.111, 0.095, 0.110, 0.090),
    "perm-interp": (0.557, 0.013, 0.000, 0.000),
}


def run(data: PaperData, settings: Settings) -> Report:
    """Return figure 11 in both tracks.

    Args:
        data: images, named as what they are.
        settings: `OFFICIAL`, `DEFAULT`, or smaller.
    """
    pair = trained(data, settings, leaky)
    held, test = data.held.first(settings.evaluated), data.test.first(settings.evaluated)
    fgsm_curves, pgd_curves = published_curves(pair.published, data.calibration, held, settings)
    corrected = Corrected(pair.corrected, data.calibration, test, settings)
    transfer, white = corrected.transfer(), corrected.white_box()
    tracks = (
        _as_published(fgsm_curves, pgd_curves, data, settings, len(held.labels)),
        _corrected_track(transfer, white, data, settings, len(test.labels)),
    )
    return Report(
        NUMBER, TITLE, horizon(data, settings), is_full(data, settings), tracks,
        (*_comparisons(fgsm_curves, pgd_curves, data), *_findings(transfer, white)), defects_of(NUMBER),
        (
            "Brackets: mean over seeds and the 95 % range of one more run, which is what an official number is.",
            "Random guessing has accuracy .10: an ensemble at or below that line is not protected, it is broken.",
            "Our readings, where the account gives no more than a name: no attack at epsilon 0 and at 0 iterations; "
            "'random' adds scale times U[0, 1] to each hidden unit; 'g⁻¹' is compensated by g⁻¹ in place of the fit; "
            "'perm-interp' is (1 − t) 1 + t P with t < 5/11, drawn once per member. This 'random' leaves more of the "
            "clean accuracy than the official one.",
            "In the corrected track the attack is crafted on the base (transfer) and, with full knowledge of weights "
            "and members, on the mean probability of the ensemble (white box).",
        ),
    )  # fmt: skip


def _as_published(fgsm_curves: Curves, pgd_curves: Curves, data: PaperData, settings: Settings, judged: int) -> Track:
    panels = (
        _panel("FGSM as published", "epsilon", EPSILONS, fgsm_curves, OFFICIAL_FGSM if data.comparable else {}),
        _panel("PGD as published", "iterations", ITERATIONS, pgd_curves, OFFICIAL_PGD if data.comparable else {}),
    )
    shown = described(
        data, settings, members=settings.members, scale=SCALE, calibration=f"k = h = {HIDDEN}",
        judged=f"{judged} held-out train images", loss="cross-entropy of a softmax",
        attack="applied twice, clamped to [0, 1]; PGD: epsilon .3, step .01, random start",
    )  # fmt: skip
    numbers = {"fgsm": _values(EPSILONS, fgsm_curves), "pgd": _values(ITERATIONS, pgd_curves)}
    return Track(TrackName.AS_PUBLISHED, shown, panels, numbers)


def _corrected_track(transfer: Curves, white: Curves, data: PaperData, settings: Settings, judged: int) -> Track:
    images, count = settings.white_box
    panels = (
        _panel(f"PGD-{settings.steps} crafted on the base", "epsilon", EPSILONS, transfer, {}),
        _panel(f"PGD-{settings.steps} crafted on what is judged", "epsilon", EPSILONS, white, {}),
    )
    shown = described(
        data, settings, members=settings.members, judged=f"{judged} test images", loss="cross-entropy of logits",
        attack=f"PGD, {settings.steps} steps of epsilon/4, random start, bounds [-.5, .5], epsilon in units of those "
        "bounds",
        white_box=f"{min(images, judged)} images, {min(count, settings.members)} members",
    )  # fmt: skip
    numbers = {"crafted_on_the_base": _values(EPSILONS, transfer), "white_box": _values(EPSILONS, white)}
    return Track(TrackName.CORRECTED, shown, panels, numbers)


def _panel(
    title: str, x_label: str, x: tuple[float, ...], curves: Curves, official: Mapping[str, tuple[float, ...]]
) -> Panel:
    lines = []
    for colour, (name, values) in enumerate(curves.items()):
        ranges = [mean_interval(row).of_a_share() for row in values]
        band = (tuple(r.low for r in ranges), tuple(r.high for r in ranges))
        lines.append(Line(name, tuple(map(float, x)), tuple(r.mean for r in ranges), band=band, colour=colour))
        if name in official:
            lines.append(Line("official", tuple(map(float, x)), official[name], Stroke.OFFICIAL, colour=colour))
    return Panel(title, x_label, "accuracy, 95 % interval of the mean", tuple(lines), level=(CHANCE, "chance"))


def _values(strengths: tuple[float, ...], curves: Curves) -> dict[str, dict[str, list[float]]]:
    return {
        name: {f"{strength:g}": values[i].tolist() for i, strength in enumerate(strengths)}
        for name, values in curves.items()
    }


def _comparisons(fgsm_curves: Curves, pgd_curves: Curves, data: PaperData) -> list[Comparison]:
    """Return each official number beside the 95 % range of our seeds, then the signs of group minus original."""
    rows = []
    for attack, strengths, curves, official in (
        ("FGSM", EPSILONS, fgsm_curves, OFFICIAL_FGSM),
        ("PGD", ITERATIONS, pgd_curves, OFFICIAL_PGD),
    ):
        for name, numbers in official.items():
            for i, strength in enumerate(strengths):
                ours = prediction_range(curves[name][i]).of_a_share()
                word = "inside our range" if ours.holds(numbers[i]) else "outside our range"
                rows.append(Comparison(f"{attack} {strength:g}, {name}", f"{numbers[i]:.3f}", f"chance {CHANCE}",
                                       str(ours), data.judge(word)))  # fmt: skip
        for i, strength in enumerate(strengths):
            theirs = official["group"][i] - official["original"][i]
            difference = mean_interval(curves["group"][i] - curves["original"][i])
            word = "sign agrees" if difference.mean * theirs > 0 else "sign does not agree"
            rows.append(Comparison(f"{attack} {strength:g}, group minus original (mean, paired by seed)",
                                   f"{theirs:+.3f}", "—", str(difference), data.judge(word)))  # fmt: skip
    return rows


def _findings(transfer: Curves, white: Curves) -> list[Comparison]:
    """Return what the corrected track says, at the largest radius."""
    rows = []
    for title, curves in (("crafted on the base", transfer), ("white box", white)):
        for name, values in curves.items():
            last = mean_interval(values[-1]).of_a_share()
            word = "at or below chance" if last.high <= CHANCE else "interval of the mean over seeds"
            rows.append(Comparison(f"corrected, {title}, epsilon {EPSILONS[-1]}: {name}", "—",
                                   f"clean {mean_interval(values[0]).of_a_share()}", str(last), word))  # fmt: skip
    return rows


__all__ = ["DEFAULT", "NUMBER", "OFFICIAL", "TITLE", "run"]
