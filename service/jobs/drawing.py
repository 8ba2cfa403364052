"""Jobs of type `figures`: figures of the paper as pictures, numbers and one page, one figure per step."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from attacks.paper import PaperData
from ensemble.paper import MISSING, Report, png, svg
from ensemble.paper.values import Comparison, Panel, Track, TrackName
from service.catalogue import figure_data
from service.catalogue.figures import rows
from service.jobs.benches import Step, SteppedBench
from service.store.canonical import canonical, digest
from service.web.paper import picture_name, render

SCHEMA: Final = "figures-1"  # raised when the result of a step changes
MEDIA: Final = {"svg": "image/svg+xml", "png": "image/png"}
ON_IMAGES: Final = (10, 11)


class DrawingBench(SteppedBench):
    """Reproduces figures with the code of `levelset figures`."""

    def steps(self, spec: Mapping[str, Any]) -> Sequence[Step]:
        """Return one step per figure."""
        content = {
            "schema": SCHEMA,
            "full": spec["full"],
            "versions": {name: version(name) for name in ("levelset", "torch", "matplotlib")},
            "threads": self.settings.threads,
        }
        return [
            Step(digest({**content, "figure": number, "images": self._images(number)}), f"figure {number}", number)
            for number in spec["figures"]
        ]

    def work(self, spec: Mapping[str, Any], step: Step) -> dict[str, Any]:
        """Return words and numbers of a figure whose pictures are stored."""
        row = next(row for row in rows(self._data) if row.number == step.index)
        report = (row.full if spec["full"] else row.default)()
        pictures = [
            self.file(picture_name(report, track, kind), draw(report, track), MEDIA[kind])
            for track in report.tracks
            for kind, draw in (("svg", svg), ("png", png))
        ]
        return {"document": report.to_dict(), "pictures": pictures}

    def finish(self, spec: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the pictures, the numbers in one document, and one page that shows them."""
        documents = [result["document"] for result in results]
        missing = {number: reason for number, reason in MISSING.items() if number in spec["figures"]}
        whole = {"figures": documents, "not_shown": {str(number): reason for number, reason in missing.items()}}
        page = render([_report(document) for document in documents], missing)
        files = [file for result in results for file in result["pictures"]]
        files.append(self.file("figures.json", canonical(whole), "application/json"))
        files.append(self.file("figures.html", page.encode(), "text/html"))
        verdicts = {
            f"figure {document['figure']}: {row['quantity']}": row["verdict"]
            for document in documents
            for row in document["comparisons"]
        }
        return {"result": {"figures": spec["figures"], "verdicts": verdicts}, "files": files}

    def is_whole(self, result: Mapping[str, Any]) -> bool:
        """Return whether the pictures are still there."""
        return all(self.artifacts.has(picture["sha256"]) for picture in result["pictures"])

    def _images(self, number: int) -> str | None:
        """Return what figures 10 and 11 are computed on, None for the others."""
        return figure_data.offered(self.settings.datasets_folder) if number in ON_IMAGES else None

    def _data(self, limit: int) -> PaperData:
        return figure_data.load(None, self.settings.datasets_folder, limit)


def _report(document: Mapping[str, Any]) -> Report:
    """Return what the page needs of a figure: its words; the lines are in the pictures."""
    tracks = tuple(
        Track(
            TrackName(name),
            track["settings"],
            tuple(Panel(panel["title"], "", "", ()) for panel in track["panels"]),
            track["numbers"],
        )
        for name, track in document["tracks"].items()
    )
    return Report(
        document["figure"],
        document["title"],
        document["horizon"],
        document["full"],
        tracks,
        tuple(Comparison(**row) for row in document["comparisons"]),
        tuple(document["defects"]),
        tuple(document["remarks"]),
    )
