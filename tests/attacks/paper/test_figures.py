"""Figures 10 and 11 at a tiny horizon, and the ranges that official numbers are set beside.

Seen to fail when: the range of one more run is that of the mean; the base of a change is another seed's; the ensemble
of independent networks holds the attacked one; an official number is compared with another row's; a verdict is given on
other data.
"""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from attacks.paper import OFFICIAL, PaperData, Settings, cut, figure10, figure11
from attacks.paper.figure11_curves import Corrected
from attacks.paper.networks import leaky
from attacks.paper.ranges import mean_interval, prediction_range
from attacks.paper.settings import trained
from ensemble.errors import InputError
from ensemble.paper import Report, TrackName

TINY = replace(
    OFFICIAL, seeds=3, images=160, epochs=6, evaluated=40, counts=(2, 5), members=6, white_box=(20, 3), steps=3
)


def squares(*, comparable: bool) -> PaperData:
    """Return images of ten easy classes: a bright row or column on noise."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (900,), generator=rng)
    pixels = 0.4 * torch.rand(900, 1, 8, 8, generator=rng)
    for i, label in enumerate(labels.tolist()):
        pixels[i, 0, label % 5 + 1, :] += 0.5 * (label < 5)
        pixels[i, 0, :, label % 5 + 1] += 0.5 * (label >= 5)

    def reader(first: int) -> object:
        def read(start: int, stop: int) -> tuple[Tensor, Tensor]:
            return pixels[first + start : first + stop].clamp(0, 1), labels[first + start : first + stop]

        return read

    return cut("squares", reader(0), reader(800), (800, 100), limit=200, comparable=comparable)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def reports() -> dict[int, Report]:
    """Return both figures on easy images."""
    return {10: figure10.run(squares(comparable=True), TINY), 11: figure11.run(squares(comparable=False), TINY)}


@pytest.mark.parametrize("number", [10, 11])
def test_a_report_names_its_data_and_is_strict_json(reports: dict[int, Report], number: int) -> None:
    """The data, both tracks, the defects and strict JSON; never called full at this size."""
    report = reports[number]
    assert [track.name for track in report.tracks] == list(TrackName)
    assert report.horizon.startswith("squares: 160 train images, 6 epochs, 3 seeds")
    assert not report.full
    assert len(report.defects) >= 6
    json.dumps(report.to_dict(), allow_nan=False)


def test_figure_10_at_a_small_scale_is_the_base_and_at_a_large_one_is_not(reports: dict[int, Report]) -> None:
    """Paired by seed: no change at 1e-4, and members at scale 20 answer otherwise; the vote is kept, too."""
    numbers = reports[10].tracks[0].numbers
    assert max(numbers["base"]) > 0.3
    assert numbers["mean_softmax"]["scale 0.0001"]["5 members"] == pytest.approx(numbers["base"])
    assert numbers["mean_softmax"]["scale 20"]["5 members"] != pytest.approx(numbers["base"])
    assert set(numbers["majority_vote"]) == set(numbers["mean_softmax"])
    by_name = {row.quantity: row.ours for row in reports[10].comparisons}
    assert by_name["scale 0.0001, group minus original"] == "0.000 [0.000, 0.000]"  # each seed against its own base
    assert reports[10].comparisons[0].official == "0.442 to 0.594 over cells"
    assert any("sign agrees" in row.verdict for row in reports[10].comparisons)


def test_figure_11_sets_every_official_number_beside_ours(reports: dict[int, Report]) -> None:
    """46 official accuracies, each once, with no verdict on other data."""
    rows = [row for row in reports[11].comparisons if row.official.startswith("0.")]
    assert len(rows) == 6 * 5 + 4 * 4
    by_name = {row.quantity: row for row in rows}
    assert by_name["FGSM 0.009, group"].official == "0.109"
    assert by_name["PGD 3, perm-interp"].official == "0.000"
    assert {row.verdict for row in rows} == {"other data: not comparable"}
    ours = reports[11].tracks[0].numbers["fgsm"]["group"]["0.009"]
    assert f"{sum(ours) / 3:.3f}" in by_name["FGSM 0.009, group"].ours


def test_figure_11_attacks_and_controls_have_their_signs(reports: dict[int, Report]) -> None:
    """The white box is no weaker than transfer at the largest radius; the scrambled control is near chance."""
    numbers = reports[11].tracks[1].numbers
    transfer, white = numbers["crafted_on_the_base"], numbers["white_box"]
    assert {"original", "scrambled", "base, noise of equal size", "independent networks"} <= set(transfer)
    for name in ("original", "base, noise of equal size"):
        assert transfer[name]["0"] == transfer["original"]["0"]
    assert sum(transfer["original"]["0.012"]) <= sum(transfer["base, noise of equal size"]["0.012"])
    assert sum(transfer["scrambled"]["0"]) < sum(transfer["original"]["0"]) - 0.3
    assert sum(white["original"]["0.012"]) <= sum(white["original"]["0"])


def test_independent_networks_leave_the_attacked_one_out() -> None:
    """With two seeds the ensemble for one base is the other network alone."""
    data = squares(comparable=True)
    settings = replace(TINY, seeds=2)
    networks = trained(data, settings, leaky).corrected
    judge = Corrected(networks, data.calibration, data.test, settings)
    clean = data.test.pixels.expand(2, *data.test.pixels.shape)
    found = judge._independent(clean)
    alone = (networks.logits(data.test.pixels).argmax(dim=2) == data.test.labels).double().mean(dim=1)
    torch.testing.assert_close(found, alone.flip(0))


def test_tracks_start_from_equal_weights_and_end_apart() -> None:
    """The loss is the only difference between the networks of the two tracks."""
    pair = trained(squares(comparable=True), replace(TINY, epochs=0), leaky)
    assert torch.equal(pair.published.U, pair.corrected.U)
    pair = trained(squares(comparable=True), replace(TINY, epochs=1), leaky)
    assert not torch.equal(pair.published.U, pair.corrected.U)


def test_ranges_by_hand() -> None:
    """Five values: mean 3, s = sqrt(2.5), t = 2.776; one more run is sqrt(6) times wider than the mean."""
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    one_more, mean = prediction_range(values), mean_interval(values)
    assert one_more.mean == mean.mean == 3
    assert mean.high - 3 == pytest.approx(2.776 * (2.5 / 5) ** 0.5, abs=1e-3)
    assert (one_more.high - 3) / (mean.high - 3) == pytest.approx(6**0.5)
    assert one_more.holds(6.0)
    assert not mean.holds(6.0)
    assert mean.overlaps(4.5, 9.0)
    assert not mean.overlaps(5.5, 9.0)
    assert mean.of_a_share().high == 1.0


def test_one_seed_gives_no_range() -> None:
    """A range needs at least two networks."""
    with pytest.raises(InputError, match="at least two"):
        Settings(seeds=1)
