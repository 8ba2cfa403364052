"""Makes the report that the tests of the pages show: `python -m tests.service.web.make_sample FOLDER`.

The demo's network and ensemble are built in FOLDER and evaluated in this process; the report is written beside this
file. Run it again when the report's schema grows, and look at the pages that come out of it.
"""

import sys
from pathlib import Path
from typing import Final

import torch

from attacks.data import DataDescription
from attacks.evaluate import run_all
from attacks.evaluation import Evaluation
from attacks.threat import ThreatModel
from service.catalogue.datasets import load
from service.catalogue.repository import ModelRepository
from service.catalogue.torchvision_compat import import_torchvision
from service.demo import build_digits
from service.settings import Settings

SAMPLE: Final = Path(__file__).parent / "report-1.0.json"


def main(folder: Path) -> None:
    """Write the sample report; the demo's ensemble is kept in the folder."""
    torch.set_num_threads(1)
    import_torchvision()
    settings = Settings(data=folder)
    info = build_digits(settings)
    target = ModelRepository(settings.models_folder).load(info.name)
    part = load("digits").part("test", 200)
    generation = target.generation
    evaluation = Evaluation(
        target=target,
        base=target.base,
        inputs=part.inputs,
        labels=part.labels,
        threat=ThreatModel(norm="linf", epsilons=(0.1, 0.2, 0.3)),
        suite="quick",
        mode="prob",
        seed=0,
        calibration_digests=() if generation is None else (generation.calibration_digest,),
        data=DataDescription("digits", "test", "lossless", tuple(map(str, part.ids))),
    )
    SAMPLE.write_text(run_all(evaluation).to_json() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
