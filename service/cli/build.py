"""`levelset build`: from a checkpoint and unlabelled images to a stored ensemble."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import notices, progress_bar, results
from service.cli.options import (
    ArchitectureKey,
    DataFolder,
    DataRoot,
    DataSetName,
    Device,
    Download,
    Seed,
    settings_with,
)

if TYPE_CHECKING:
    from ensemble import Recipe
    from service.catalogue.model_info import ModelInfo

NAME = "build"
EXAMPLE = (
    "Example: `levelset build --arch resnet20 --weights resnet20.safetensors --dataset npz:cifar10.npz --members 4 "
    "--name cifar`"
)


def command(
    arch: ArchitectureKey,
    weights: Annotated[
        Path, typer.Option("--weights", help="Trained weights: .safetensors, or .pt/.th of tensors only.")
    ],
    dataset: DataSetName,
    name: Annotated[str, typer.Option("--name", help="Name of the ensemble; a second build adds a version.")],
    members: Annotated[int, typer.Option("--members", min=1, help="How many networks to make.")] = 8,
    recipe: Annotated[
        str, typer.Option("--recipe", help="Preset name, or a JSON file with recipe fields.")
    ] = "balanced",
    calibration: Annotated[
        int | None, typer.Option("--calibration", min=2, help="Calibration images to use [default: all, at most 500].")
    ] = None,
    seed: Seed = 0,
    data: DataFolder = None,
    data_root: DataRoot = None,
    download: Download = False,
    device: Device = "cpu",
) -> None:
    """Build an ensemble from trained weights and store it in the model repository.

    Only the images of the data set's calibration part are used, without their labels. The network is not retrained;
    a recipe with a hardening fine-tunes a copy of it.
    """
    from service.catalogue import building, datasets
    from service.catalogue.repository import ModelRepository

    settings = settings_with(data=data, dataset_root=data_root)
    with notices().status("reading the data set and the weights"):
        source = datasets.load(dataset, settings.datasets_folder, download=download)
        base = building.trained_network(arch, weights, num_classes=source.num_classes, device=device)
    order = building.Order(name=name, members=members, recipe=_recipe(recipe), seed=seed, calibration=calibration)
    with progress_bar(f"building {members} members") as report:
        info = building.build(base, source, order, ModelRepository(settings.models_folder), progress=report)
    _show(info, settings.models_folder)


def _recipe(text: str) -> "Recipe":
    """Return the preset of that name, or the recipe in that JSON file."""
    import ensemble
    from ensemble.errors import RecipeError, UnknownName

    if not text.endswith(".json"):
        if text not in ensemble.presets:
            raise UnknownName("recipe", text, [*ensemble.presets, "FILE.json"])
        return ensemble.presets[text]
    try:
        return ensemble.Recipe.from_json(Path(text).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe: expected a readable JSON file, got {error}; check the path") from error


def _show(info: "ModelInfo", folder: Path) -> None:
    from service.cli.tables import coordinates_table, generation_table

    console = results()
    console.print(generation_table(info))
    located = coordinates_table(info)
    if located is not None:
        console.print(located)
    console.print(f"stored: {folder / info.name / info.version}", soft_wrap=True, markup=False)
    notices().print(f"next: levelset evaluate {info.name}   or   levelset serve", markup=False)
