"""Figure 10: accuracy of an ensemble of group members, minus that of the base, against scale and number of members.

As published: k = h calibration inputs per member, networks trained through two softmaxes, judged on held-out train
images. Corrected: logits, the test split, and least-squares members (k = 64 h) beside the published ones.
"""

import torch
from torch import Tensor

from attacks.paper.data import Images, PaperData
from attacks.paper.members import Members, draw, majority, mean_softmax, member_logits
from attacks.paper.networks import HIDDEN, Networks, square_like
from attacks.paper.ranges import Range, mean_interval, prediction_range
from attacks.paper.settings import DEFAULT as SHARED_DEFAULT
from attacks.paper.settings import OFFICIAL, SPLIT, Settings, accuracy, described, features, horizon, is_full, trained
from ensemble.paper.defects import defects_of
from ensemble.paper.values import Comparison, Line, Panel, Report, Stroke, Track, TrackName, verdict

NUMBER = 10
TITLE = "Accuracy of ensembles of group members"
DEFAULT = SHARED_DEFAULT
SCALES = (1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 20.0)
#: Official group minus original over 10-120 members, mean softmax, n = 1000: lowest and highest. At scale 20 only the
#: ensemble's own accuracy is stated.
OFFICIAL_CHANGE = {
    1e-4: (-0.003, 0.003), 1e-3: (-0.003, 0.003), 0.01: (-0.003, 0.004), 0.1: (-0.017, 0.005),
    1.0: (-0.290, -0.127), 10.0: (-0.370, -0.203),
}  # fmt: skip
OFFICIAL_AT_20 = (0.10, 0.19)
OFFICIAL_BASE = (0.442, 0.594)
CHANCE = 0.1
LEAST_SQUARES = 64 * HIDDEN


def run(data: PaperData, settings: Settings) -> Report:
    """Return figure 10 in both tracks.

    Args:
        data: images, named as what they are.
        settings: `OFFICIAL`, `DEFAULT`, or smaller.
    """
    pair = trained(data, settings, square_like)
    held, test = data.held.first(settings.evaluated), data.test.first(settings.evaluated)
    published = _Grid(pair.published, data.calibration, held, settings, HIDDEN)
    same = _Grid(pair.corrected, data.calibration, test, settings, HIDDEN)
    fitted = _Grid(pair.corrected, data.calibration, test, settings, LEAST_SQUARES)
    tracks = (_as_published(published, data, settings), _corrected(same, fitted, data, settings))
    return Report(
        NUMBER, TITLE, horizon(data, settings), is_full(data, settings), tracks,
        _comparisons(published, fitted, data, settings), defects_of(NUMBER),
        (
            "Brackets: mean over seeds and the 95 % range of one more run, which is what an official number is; "
            "the official base was trained anew for each cell, ours once per seed for the whole grid.",
            f"Standard error of an official number at most .016 (n = 1000); here n = {len(held.labels)}.",
            "The majority vote, which the official plot shows, is in figures.json beside the mean softmax.",
        ),
    )  # fmt: skip


class _Grid:
    """Accuracies over scales, member counts and seeds for one kind of member."""

    def __init__(self, networks: Networks, calibration: Images, judged: Images, settings: Settings, k: int) -> None:
        z = features(networks, judged.pixels)
        source = features(networks, calibration.pixels)
        self.judged = len(judged.labels)
        self.base = accuracy(networks.read_out(z).argmax(dim=2), judged.labels)
        found = [self._scale(networks, source, z, judged.labels, settings, k, i) for i in range(len(SCALES))]
        self.mean = torch.stack([mean for mean, _ in found])  # [scale count seed]
        self.vote = torch.stack([vote for _, vote in found])

    @staticmethod
    def _scale(
        networks: Networks, source: Tensor, z: Tensor, labels: Tensor, settings: Settings, k: int, index: int
    ) -> tuple[Tensor, Tensor]:
        """Return accuracies `[count seed]` of the mean softmax and of the vote at one scale."""
        largest = max(settings.counts)
        members = draw(networks, source, scale=SCALES[index], count=largest, batch=k, seed=SPLIT + index)
        mean, vote = [], []
        for i in range(len(networks)):
            rows = slice(i, i + 1)
            own = Members(members.g[rows], members.pi[rows], members.shift[rows])
            logits = torch.nan_to_num(member_logits(networks.part(rows), own, z[rows]))
            first = [logits[:, :count] for count in settings.counts]
            mean.append(torch.stack([accuracy(mean_softmax(part).argmax(dim=2), labels)[0] for part in first]))
            vote.append(torch.stack([accuracy(majority(part), labels)[0] for part in first]))
        return torch.stack(mean, dim=1), torch.stack(vote, dim=1)

    def change(self) -> Tensor:
        """Return ensemble minus base `[scale count seed]`, mean softmax."""
        return self.mean - self.base

    def numbers(self, settings: Settings) -> dict[str, object]:
        """Return every accuracy as JSON values."""
        return {
            "base": self.base.tolist(),
            "images": self.judged,
            "mean_softmax": _nested(self.mean, settings),
            "majority_vote": _nested(self.vote, settings),
        }


def _nested(values: Tensor, settings: Settings) -> dict[str, dict[str, list[float]]]:
    return {
        f"scale {scale:g}": {f"{count} members": values[i, j].tolist() for j, count in enumerate(settings.counts)}
        for i, scale in enumerate(SCALES)
    }


def _line(label: str, ranges: list[Range], colour: int) -> Line:
    low, high = tuple(r.low for r in ranges), tuple(r.high for r in ranges)
    return Line(label, SCALES, tuple(r.mean for r in ranges), band=(low, high), colour=colour)


def _as_published(grid: _Grid, data: PaperData, settings: Settings) -> Track:
    change = grid.change()
    chosen = sorted({0, len(settings.counts) - 1})
    lines = [
        _line(f"{settings.counts[j]} members", [prediction_range(change[i, j]) for i in range(len(SCALES))], j)
        for j in chosen
    ]
    ends = ("official, lowest", "official, highest") if data.comparable else ()
    for end, name in enumerate(ends):
        y = tuple(OFFICIAL_CHANGE[scale][end] for scale in OFFICIAL_CHANGE)
        lines.append(Line(name, tuple(OFFICIAL_CHANGE), y, Stroke.OFFICIAL, colour=1 + end))
    panel = Panel("mean softmax, 95 % range of one more run", "scale", "ensemble minus base", tuple(lines), "log",
                  level=(0.0, "no change"))  # fmt: skip
    settings_shown = described(
        data, settings, members=list(settings.counts), calibration=f"k = h = {HIDDEN} a member",
        judged=f"{grid.judged} held-out train images", loss="cross-entropy of a softmax",
    )  # fmt: skip
    return Track(TrackName.AS_PUBLISHED, settings_shown, (panel,), grid.numbers(settings))


def _corrected(same: _Grid, fitted: _Grid, data: PaperData, settings: Settings) -> Track:
    largest = len(settings.counts) - 1
    panels = []
    for title, grid in ((f"k = h = {HIDDEN}", same), (f"k = {LEAST_SQUARES}", fitted)):
        ranges = [mean_interval(grid.change()[i, largest]) for i in range(len(SCALES))]
        panels.append(
            Panel(f"{title}, {settings.counts[largest]} members, 95 % interval of the mean", "scale",
                  "ensemble minus base", (_line("paired by seed", ranges, 0),), "log", level=(0.0, "no change"))
        )  # fmt: skip
    settings_shown = described(
        data, settings, members=list(settings.counts), calibration=f"k = {HIDDEN} and k = {LEAST_SQUARES} a member",
        judged=f"{same.judged} test images", loss="cross-entropy of logits",
    )  # fmt: skip
    numbers = {"k_equals_h": same.numbers(settings), "least_squares": fitted.numbers(settings)}
    return Track(TrackName.CORRECTED, settings_shown, tuple(panels), numbers)


def _comparisons(published: _Grid, fitted: _Grid, data: PaperData, settings: Settings) -> tuple[Comparison, ...]:
    base = prediction_range(published.base).of_a_share()
    rows = [
        Comparison("accuracy of the base", f"{OFFICIAL_BASE[0]} to {OFFICIAL_BASE[1]} over cells", f"chance {CHANCE}",
                   str(base), data.judge(verdict(base.overlaps(*OFFICIAL_BASE))))
    ]  # fmt: skip
    change = published.change()
    for i, scale in enumerate(SCALES):
        name = f"scale {scale:g}, group minus original"
        ours = _over_counts([prediction_range(change[i, j]) for j in range(len(settings.counts))])
        if scale in OFFICIAL_CHANGE:
            low, high = OFFICIAL_CHANGE[scale]
            rows.append(Comparison(name, f"{low:+.3f} to {high:+.3f}", "no significant gain anywhere", str(ours),
                                   data.judge(_sign_verdict(ours, low, high))))  # fmt: skip
        else:
            own = _over_counts([prediction_range(published.mean[i, j]) for j in range(len(settings.counts))])
            low, high = OFFICIAL_AT_20
            rows.append(Comparison(f"scale {scale:g}, group itself", f"{low:.2f} to {high:.2f}", f"chance {CHANCE}",
                                   str(own.of_a_share()), data.judge(verdict(own.overlaps(low, high)))))  # fmt: skip
    for i, scale in enumerate(SCALES):
        gain = mean_interval(fitted.change()[i, -1])
        word = "no gain found" if gain.low <= 0 else "a gain on these seeds"
        rows.append(Comparison(f"corrected, k = {LEAST_SQUARES}, scale {scale:g}: mean gain of "
                               f"{settings.counts[-1]} members", "—", "—", str(gain), word))  # fmt: skip
    return tuple(rows)


def _over_counts(ranges: list[Range]) -> Range:
    """Return the mean over member counts and the widest range."""
    return Range(
        sum(r.mean for r in ranges) / len(ranges),
        min(r.low for r in ranges),
        max(r.high for r in ranges),
        ranges[0].seeds,
    )


def _sign_verdict(ours: Range, low: float, high: float) -> str:
    """Return whether signs agree, and whether the official interval meets our range."""
    official_loss, our_loss = high < 0, ours.mean < -0.02
    sign = "sign agrees" if official_loss == our_loss else "sign does not agree"
    return f"{sign}; {'ranges meet' if ours.overlaps(low, high) else 'ranges do not meet'}"


__all__ = ["DEFAULT", "NUMBER", "OFFICIAL", "TITLE", "run"]
