"""`levelset evaluate`: what an ensemble is worth against attacks, here or on a running service."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli import exit_codes
from service.cli.console import progress_bar, results
from service.cli.options import DataFolder, DataRoot, Device, Download, Seed, settings_with

NAME = "evaluate"
EXAMPLE = "Example: `levelset evaluate digits -n 200 --epsilon 0.1 --epsilon 0.2`"


def command(
    name: Annotated[str, typer.Argument(help="Ensemble in the model repository.")],
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Labelled data set [default: the one it was built on].")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Part of the data set that is judged.")] = "test",
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many images of the part.")] = 200,
    norm: Annotated[
        list[str] | None,
        typer.Option("--norm", help="linf, l2 or l1; repeat for several [default: those of the suite]."),
    ] = None,
    epsilon: Annotated[
        list[float] | None,
        typer.Option("--epsilon", help="Radius in input units; repeat for several [default: usual for the images]."),
    ] = None,
    suite: Annotated[str, typer.Option("--suite", help="quick, standard or thorough.")] = "quick",
    mode: Annotated[
        str, typer.Option("--mode", help="How members answer together: prob, logit, vote or random_member.")
    ] = "prob",
    datatype: Annotated[
        str, typer.Option("--datatype", help="How clients send inputs: FP32, or UINT8 (image files, too: rounded).")
    ] = "FP32",
    draws: Annotated[
        int | None,
        typer.Option(
            "--draws",
            min=1,
            max=32,
            help="Draws of the group in all, the others made like this ensemble [default: 1 in quick, 5 in the rest].",
        ),
    ] = None,
    seed: Seed = 0,
    data: DataFolder = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where to write [default: DATA/reports/NAME].")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Run it as a job of the service at this address, not in this process.")
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", help="FILE.py:FACTORY of an ensemble built from your own network.")
    ] = None,
    data_root: DataRoot = None,
    download: Download = False,
    device: Device = "cpu",
) -> None:
    """Attack an ensemble and its base network; write a report as JSON, HTML and Markdown.

    Without --url the attacks run in this process. With --url they run as a durable job of that service, which
    continues where it stopped if the machine goes down.
    """
    from service.cli import evaluating
    from service.cli.report_files import check_writable, show_report, write_report

    if url is not None and (arch is not None or data_root is not None or download or device != "cpu"):
        raise typer.BadParameter(
            "expected none of --arch, --data-root, --download and --device beside it: the service uses its own",
            param_hint="--url",
        )
    settings = settings_with(data=data, dataset_root=data_root)
    folder = evaluating.report_folder(settings, name) if out is None else out
    order = evaluating.Order(
        target=name,
        dataset=dataset,
        split=split,
        count=count,
        norms=tuple(norm or ()),
        epsilons=tuple(epsilon or ()),
        suite=suite,
        mode=mode,
        datatype=datatype,
        seed=seed,
        draws=draws,
    )
    check_writable(folder)  # before minutes of work
    with progress_bar(f"evaluating {name}") as progress:
        if url is None:
            here = evaluating.Here(
                settings=settings, device=device, download=download, architecture=arch, examples=folder / "examples"
            )
            found = evaluating.evaluate_here(order, here, progress=progress)
        else:
            found = evaluating.evaluate_there(order, url, progress=progress)
    files = write_report(found, folder)
    console = results()
    show_report(console, found, files)
    if found.status.value == "UNRELIABLE":
        raise typer.Exit(exit_codes.UNRELIABLE)
