"""Figures 3 to 7 and 9 at tiny horizons: what they report, against closed forms and plain transcriptions.

Seen to fail when: U and V share a seed in the corrected track; the baseline of the published change is step 0; the
drift is compared at equal steps in place of equal times; the ReLU integral takes all of x²/2 in figure 5;
`at_unit_quantity` divides both layers; the unit of figure 9 is moved by 2 q; the Hessian is that of the mean square in
both tracks; the radial starts scale only one layer; `steps_to` takes the record before the crossing; the
sigmoid goes on for half as many steps.
"""

import json
import math
from dataclasses import replace

import pytest
import torch

from ensemble.flow.initialisation import Shape
from ensemble.paper import (
    MISSING,
    TABLE,
    Report,
    TrackName,
    distribution,
    figure3,
    figure4,
    figure5,
    figure6,
    figure7,
    figure9,
)
from ensemble.paper.descent import Record, descend, stacked
from ensemble.paper.layers import Linear
from ensemble.paper.speed import last_rate, ordered, steps_to

THREE = replace(figure3.OFFICIAL, steps=1500, rates=(0.1, 0.03, 0.01))
SMALL = distribution.Settings(seeds=300, shapes=(Shape(20, 30, 25),))
SIX = replace(figure6.OFFICIAL, steps=3000, rate=0.02, hidden=12, unit_steps=6000)
SEVEN = replace(figure7.OFFICIAL, steps=4000, scales=(0.01, 0.02, 1.0))
NINE = replace(figure9.OFFICIAL, out=3, inp=2, hidden=4, steps=2500, spreads=(0.3, 0.9), units=(-2.0, 0.0, 2.0))


@pytest.fixture(scope="module")
def reports() -> dict[int, Report]:
    """Return every figure at a tiny horizon."""
    return {
        3: figure3.run(THREE),
        4: figure4.run(SMALL),
        5: figure5.run(SMALL),
        6: figure6.run(SIX),
        7: figure7.run(SEVEN),
        9: figure9.run(NINE),
    }


def test_the_table_names_the_figures_and_what_is_missing(reports: dict[int, Report]) -> None:
    """Figures 3 to 7 and 9 are there, 8 is named as unknown, and nothing is invented for it."""
    assert [row.number for row in TABLE] == list(reports)
    assert list(MISSING) == [8]
    assert "not known" in MISSING[8]


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 9])
def test_a_report_has_two_tracks_defects_and_strict_json(reports: dict[int, Report], number: int) -> None:
    """Both tracks are drawn and described; the numbers are JSON without NaN; a short horizon says so."""
    report = reports[number]
    assert [track.name for track in report.tracks] == list(TrackName)
    assert all(track.panels and track.settings and track.numbers for track in report.tracks)
    assert report.defects
    assert report.comparisons
    assert not report.full
    assert "official" in report.horizon
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["figure"] == number
    assert set(document["tracks"]) == {"as_published", "corrected"}


def test_figure_3_shares_a_seed_only_as_published() -> None:
    """The official scripts draw U and V from one seed; the corrected track does not."""
    published, corrected = (figure3.starts(THREE, name) for name in TrackName)
    n = published.U[0].numel() - 16  # torch draws the last sixteen anew when the size is no multiple of sixteen
    assert torch.equal(published.U[0].flatten()[:n], published.V[0].flatten()[:n])
    assert not torch.equal(corrected.U[0].flatten()[:n], corrected.V[0].flatten()[:n])
    assert torch.equal(published.Y, corrected.Y)


def test_figure_3_measures_the_published_change_from_step_1(reports: dict[int, Report]) -> None:
    """The largest |Q|/|Q after step 1| − 1 equals a transcription that walks step by step."""
    runs = figure3.starts(THREE, TrackName.AS_PUBLISHED)
    block = runs.blocks[2]
    three = runs.only(block)
    after_one = descend(three, [1]).end
    end = descend(three, [THREE.steps]).end
    entries = THREE.inp * THREE.hidden
    values = [block.layer.published(r.quantity(), entries).abs() for r in (after_one, end)]
    numbers = reports[3].tracks[0].numbers["tanh"]
    final = float((values[1] / values[0] - 1).abs()[0])
    assert numbers["0.1"]["largest_relative_change"] >= final * (1 - 1e-9)
    line = next(panel for panel in reports[3].tracks[0].panels if panel.title == "tanh").lines[0]
    assert line.y[-1] == pytest.approx(final, rel=1e-9)
    assert line.y[0] == 0.0  # step 1 is the baseline


def test_figure_3_drift_has_slope_one_at_equal_times(reports: dict[int, Report]) -> None:
    """The corrected track finds slope 1 in the rate for linear, ReLU and tanh, and the predicted drift."""
    numbers = reports[3].tracks[1].numbers
    for name in ("linear", "ReLU", "tanh"):
        assert numbers[name]["slope_of_the_two_smallest_rates"] == pytest.approx(1.0, abs=0.03)
        for rate in numbers[name]["rates"].values():
            assert rate["predicted_drift"] == pytest.approx(rate["final_drift"], rel=0.02)


@pytest.mark.parametrize(("number", "steps"), [(3, THREE.steps), (6, SIX.steps)])
def test_the_sigmoid_runs_twice_as_long(reports: dict[int, Report], number: int, steps: int) -> None:
    """As published, each curve ends at the horizon and the sigmoid's at twice that."""
    ends = {panel.title: panel.lines[0].x[-1] for panel in reports[number].tracks[0].panels}
    assert ends["sigmoid"] == 2 * steps
    assert {ends[name] for name in ("linear", "ReLU", "tanh")} == {steps}


def test_figures_4_and_5_meet_their_closed_forms(reports: dict[int, Report]) -> None:
    """Means and spreads within four standard errors, and far outside for another shape's closed form."""
    for number, count in ((4, 1), (5, 3)):
        assert len(reports[number].comparisons) == 2 * count
        assert {row.verdict for row in reports[number].comparisons} == {"agrees"}
    for one in distribution.samples(SMALL, ["linear", "ReLU", "tanh", "sigmoid"]):
        assert abs(one.mean_error) < 4
        assert abs(one.spread_error) < 4
        other = replace(one, expected=replace(one.expected, mean=one.expected.mean + one.expected.std))
        assert abs(other.mean_error) > 4
        wide = replace(one, expected=replace(one.expected, std=1.5 * one.expected.std))
        assert abs(wide.spread_error) > 4


def test_figure_4_in_the_official_normalisation() -> None:
    """Code scale of the linear network: m − h with spread sqrt(2m/h + 2h/n)."""
    (one,) = distribution.samples(SMALL, ["linear"])
    mean, std = one.published_moments
    assert mean == pytest.approx(20 - 30)
    assert std == pytest.approx(math.sqrt(2 * 20 / 30 + 2 * 30 / 25))


def test_figure_6_varies_q_at_a_fixed_function() -> None:
    """All rebalanced starts compute one function, with the wanted Q in every unit, ReLU signs untouched."""
    runs = figure6.rebalanced_starts(SIX)
    F = runs.outputs()
    for block in runs.blocks:
        rows = block.rows
        torch.testing.assert_close(F[rows], F[rows][:1].expand_as(F[rows]), rtol=1e-12, atol=1e-12)
        units = (runs.U[rows].square().sum(1) - runs.V[rows].square().sum(2)) / 2
        wanted = torch.tensor(SIX.units, dtype=torch.float64)[:, None].expand_as(units)
        torch.testing.assert_close(units, wanted, rtol=1e-10, atol=1e-10)


def test_figure_6_one_unit_follows_its_closed_form(reports: dict[int, Report]) -> None:
    """The last rate of one linear unit is 4 sqrt(Q² + y²), and is not that of Q = 0 throughout."""
    numbers = reports[6].tracks[1].numbers["one unit"]
    for q, rate in zip(numbers["Q"], numbers["last_rate"], strict=True):
        assert rate == pytest.approx(4 * math.hypot(q, 1.0), rel=0.02)
    assert numbers["last_rate"][-1] > 3 * numbers["last_rate"][0]


def test_figure_7_speed_goes_like_one_over_q(reports: dict[int, Report]) -> None:
    """Starts at one function; steps over |Q| are one constant; the row reports that a larger |Q| is slower."""
    for starts in (figure7.published_starts(SEVEN), figure7.corrected_starts(SEVEN)):
        F = starts.outputs()
        torch.testing.assert_close(F, F[:1].expand_as(F), rtol=1e-10, atol=1e-10)
        scaled = starts.quantity() / torch.tensor(SEVEN.scales, dtype=torch.float64).square()
        torch.testing.assert_close(scaled, scaled[:1].expand_as(scaled))
    numbers = reports[7].tracks[0].numbers
    first, second = (s / abs(q) for s, q in zip(numbers["steps_to_convergence"][:2], numbers["Q"][:2], strict=True))
    assert first == pytest.approx(second, rel=0.05)
    assert numbers["steps_to_convergence"][2] is None
    verdicts = {row.expected: row.verdict for row in reports[7].comparisons if row.quantity.startswith("as published")}
    assert verdicts == {"fewer at a larger |Q|": "does not agree", "more at a larger |Q| (degree −1)": "agrees"}


def test_figure_9_spectra_are_those_of_the_squared_norm() -> None:
    """The published spectrum equals that of a Hessian by finite differences of the gradient."""
    runs = descend(figure9.starts(NINE, shared=True), [20]).end.only(figure9.starts(NINE, shared=True).blocks[2])
    U, V, Y = runs.U[0], runs.V[0], runs.Y[0]
    theta = torch.cat([U.flatten(), V.flatten()]).requires_grad_()

    def gradient(x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        u, v = x[: U.numel()].view_as(U), x[U.numel() :].view_as(V)
        return torch.autograd.grad((Y - u @ torch.tanh(v)).square().sum(), x)[0]

    step = 1e-5
    rows = [
        (gradient(theta + step * e) - gradient(theta - step * e)) / (2 * step) for e in torch.eye(len(theta)).double()
    ]
    expected = torch.linalg.eigvalsh(torch.stack(rows)).flip(0)
    found = figure9.spectra(runs, runs.blocks[0])[0]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_figure_9_one_unit_has_the_sharpness_of_its_closed_form(reports: dict[int, Report]) -> None:
    """Largest eigenvalue 4 sqrt(Q² + 1) at the minimum of (1 − uv)²; the orbit moves as wanted."""
    values = figure9.unit_sharpness_measured().tolist()
    assert values == pytest.approx([4 * math.hypot(q, 1.0) for q in figure9.UNIT_QUANTITIES])
    orbit = reports[9].tracks[1].numbers["orbit"]
    assert set(orbit) == {"linear", "ReLU"}
    assert orbit["linear"]["-2.0"] > orbit["linear"]["0.0"]


def test_speed_reads_the_crossing_between_two_records() -> None:
    """An exponential decay crosses a share of ‖Y‖ where its formula says, and its rate is the exponent."""
    rate, steps = 0.1, torch.arange(0, 401, 20)
    Y = torch.full((1, 1, 1), 2.0).double()
    end = stacked([(Linear(), [(Y[0], Y[0], Y[0], rate)])])
    distance = 2.0 * torch.exp(-0.3 * rate * steps.double())[:, None]
    record = Record(steps, distance, distance, distance, end)
    assert float(steps_to(record, 0.01)[0]) == pytest.approx(math.log(100) / 0.03)
    assert math.isinf(float(steps_to(record, 1e-9)[0]))
    assert float(steps_to(record, 1.0)[0]) == 0.0
    assert float(last_rate(record)[0]) == pytest.approx(0.3)


def test_order_is_two_sided() -> None:
    """Falling values agree, rising ones do not, and infinity stands for the slowest."""
    key = torch.tensor([1.0, 3.0, 2.0])
    assert ordered(key, torch.tensor([math.inf, 1.0, 5.0]))
    assert not ordered(key, torch.tensor([1.0, 3.0, 2.0]))
    assert not ordered(key, torch.tensor([5.0, math.inf, 1.0]))
