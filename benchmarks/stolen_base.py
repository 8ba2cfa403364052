"""What does an attacker who holds the base's weights still achieve against an ensemble made from it?

ResNet-20, JPEG-re-encoded CIFAR-10, Linf: generates members from unlabelled training images, judges them on test
images with the `quick` suite (the stolen base, an attacker's own members, the white box), prints one table (base,
members, ensemble, controls, two networks trained independently; Wilson 95 % intervals) and writes it as JSON.
`--validation` judges test images 500 to 999 instead of the first 500: settings are chosen there, never on the images
that are reported.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table

import ensemble
from attacks import DataDescription, EvaluationReport, LabelledData, ThreatModel
from attacks.evaluate import run_all
from attacks.evaluation import Evaluation
from benchmarks.shared_data import ENCODING, cifar10_jpeg, resnet20, soft_resnet20
from service.web.figures import curve_chart
from service.web.plots import accuracy_curve

EPSILONS = (1 / 255, 2 / 255, 4 / 255)
_BASELINES = ("weight_noise_equal_accuracy", "weight_noise_equal_norm", "scrambled_control", "independent_ensemble")


def main() -> None:
    """Run the benchmark."""
    options = _options()
    torch.set_num_threads(options.threads)
    console = Console(width=150)
    network = resnet20()
    calibration, _ = cifar10_jpeg("train", 0, options.calibration)
    start = 500 if options.validation else 0
    inputs, labels = cifar10_jpeg("test", start, start + options.n)
    recipe = replace(ensemble.presets["balanced"], **json.loads(options.recipe))
    begin = time.perf_counter()
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task("generating", total=None)
        many = ensemble.generate(
            network,
            calibration,
            members=options.members,
            recipe=recipe,
            rng=torch.Generator().manual_seed(options.seed),
            progress=lambda step: bar.update(task, completed=step.done, total=step.total, description=step.message),
        )
    seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task("evaluating", total=None)
        evaluation = Evaluation(
            target=many,
            base=network,
            inputs=inputs,
            labels=labels,
            threat=ThreatModel(norm="linf", epsilons=EPSILONS),
            suite="quick",
            seed=options.seed,
            calibration_digests=[ensemble.tensor_digest(calibration)],
            data=DataDescription(name="cifar10", split=f"test {start}-{start + options.n - 1}", encoding=ENCODING),
            block=125,
            attacker=LabelledData(*cifar10_jpeg("train", 1000, 1000 + options.calibration)),
            validation=None if options.validation else LabelledData(*cifar10_jpeg("test", 500, 1000)),
            independents=(soft_resnet20(1), soft_resnet20(2)),
            undefended=True,
            threads=options.threads,
        )
        report = run_all(
            evaluation,
            progress=lambda step: bar.update(task, completed=step.done, total=step.total, description=step.message),
        )
    evaluation_seconds = time.perf_counter() - begin
    rows = _rows(report)
    console.print(_table(rows, options))
    console.print(
        f"generation {seconds:.0f} s, evaluation {evaluation_seconds:.0f} s, {options.threads} threads, seed "
        f"{options.seed}, status {report.status.label}"
    )
    shown = {name: value for name, value in vars(options).items() if name != "report"}
    result = {
        "question": __doc__.splitlines()[0] if __doc__ else "",
        "settings": shown | {"recipe": json.loads(recipe.to_json())},
        "data": ENCODING,
        "generation_seconds": round(seconds, 1),
        "evaluation_seconds": round(evaluation_seconds, 1),
        "agreement_on_calibration": many.generation.agreement if many.generation else None,
        "rows": rows,
        "versions": {"torch": torch.__version__, "device": "cpu"},
    }
    if not options.validation:
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        (folder / "stolen_base.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        pictures = Path(__file__).parents[1] / "docs" / "images"
        pictures.mkdir(exist_ok=True)
        for model in report.threat_models:
            (pictures / f"{model.name}.svg").write_bytes(accuracy_curve(curve_chart(report, model)))
    if options.report:
        Path(options.report).write_text(report.to_json(), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--n", type=int, default=500, help="test images judged")
    parser.add_argument("--calibration", type=int, default=500, help="unlabelled training images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recipe", default="{}", help="JSON of fields that differ from the preset `balanced`")
    parser.add_argument("--validation", action="store_true", help="judge test images 500 to 999, write no result")
    parser.add_argument("--report", help="also write the whole report here")
    return parser.parse_args()


def _rows(report: EvaluationReport) -> list[dict[str, object]]:
    """Return one row per attack, epsilon and judge: k of n and the Wilson interval."""
    rows: list[dict[str, object]] = [
        {"attack": "clean", "epsilon": 0.0, "target": entry.target, **entry.clean_accuracy.model_dump()}
        for entry in report.clean
    ]
    for model in report.threat_models:
        for result in model.results:
            rows += [
                {"attack": raw.attack, "epsilon": result.epsilon, "target": result.target}
                | raw.model_dump(include={"k", "n", "value", "low", "high"})
                for raw in result.raw
            ]
            # White-box attacks run as one cascade: what all of them leave is stated, not each for itself.
            rows.append(
                {"attack": f"worst case, {model.name}", "epsilon": result.epsilon, "target": result.target}
                | result.robust_accuracy.model_dump(include={"k", "n", "value", "low", "high"})
            )
    return rows


def _table(rows: list[dict[str, object]], options: argparse.Namespace) -> Table:
    title = f"ResNet-20, {ENCODING}, n = {options.n}, {options.members} members, Linf; accuracy [Wilson 95 %]"
    table = Table(title=title)
    for heading in ("attack", "epsilon", "base", "ensemble", "members, least to most", *_BASELINES):
        table.add_column(heading)
    for attack, epsilon in dict.fromkeys((str(row["attack"]), float(str(row["epsilon"]))) for row in rows):
        cells = {str(row["target"]): row for row in rows if (row["attack"], row["epsilon"]) == (attack, epsilon)}
        members = sorted(float(str(row["value"])) for name, row in cells.items() if name.startswith("member"))
        table.add_row(
            attack,
            f"{epsilon * 255:g}/255",
            *(_cell(cells.get(name)) for name in ("base", "ensemble")),
            f"{members[0]:.3f} to {members[-1]:.3f}" if members else "",
            *(_cell(cells.get(name)) for name in _BASELINES),
        )
    return table


def _cell(row: dict[str, object] | None) -> str:
    return "" if row is None else f"{row['value']:.3f} [{row['low']:.2f}, {row['high']:.2f}]"


if __name__ == "__main__":
    main()
