"""The figures of both packages in one table: what `levelset figures` and jobs of type `figures` run."""

from collections.abc import Callable
from functools import partial

from attacks.paper import DEFAULT, FIGURES, OFFICIAL, PaperData, Settings
from ensemble.paper import TABLE, Report, Row


def rows(data: Callable[[int], PaperData]) -> list[Row]:
    """Return one row per figure; images are read when a figure that needs them is run.

    Args:
        data: returns images, at most so many to train and to judge on.
    """
    attacked = [
        Row(
            module.NUMBER,
            module.TITLE,
            partial(_attacked, module.run, data, DEFAULT),
            partial(_attacked, module.run, data, OFFICIAL),
        )
        for module in FIGURES
    ]
    return [*TABLE, *attacked]


def _attacked(
    run: Callable[[PaperData, Settings], Report], data: Callable[[int], PaperData], settings: Settings
) -> Report:
    return run(data(settings.images), settings)
