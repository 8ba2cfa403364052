"""Write benchmarks/README.md: one table, every ratio of every result file, with machine, date and command.

    python -m benchmarks.readme

A row is made from `results/*.json` alone, so the table cannot say what no run has said. A result file without a reader
in `READERS` is an error: add a function that returns its figures.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

FOLDER = Path(__file__).parent
Figures = Iterable[tuple[str, str]]


def _autoattack(result: Mapping[str, Any]) -> Figures:
    for row in result["rows"]:
        radius = f"{row['epsilon'] * 255:.3g}/255"
        held = f"{row['held']} against {row['held_theirs']} of {row['n']} points held"
        yield f"{row['attack']}, {radius}: torchattacks' processor seconds over ours", f"{row['ratio']:.2f} ({held})"


def _execution(result: Mapping[str, Any]) -> Figures:
    for row in result["rows"]:
        place = f"{row['network']}, {row['sites']}, batch {row['batch']}"
        ideal, naive = row["best_over_ideal"], row["naive_over_best"]
        yield f"{place}: best plan over the ideal; {result['members']} networks over it", f"{ideal:.2f}; {naive:.2f}"


def _figure(result: Mapping[str, Any]) -> Figures:
    rows = result["report"]["comparisons"]
    judged = [row["verdict"] for row in rows]
    for verdict in sorted(set(judged)):
        yield f"figure {result['report']['figure']}: rows '{verdict}'", f"{judged.count(verdict)} of {len(rows)}"


def _figures(result: Mapping[str, Any]) -> Figures:
    for name, row in result["seconds_per_1000_steps"].items():
        yield f"figure 3, {name}: plain loop over ours, processor seconds", f"{row['ratio']['processor']:.1f}"
    whole = result["figure_3_at_its_full_horizon"]["ratio"]
    yield (
        "figure 3, all runs at the full horizon: the same",
        f"{whole['processor']:.1f} (by the clock {whole['wall']:.1f})",
    )


def _flow(result: Mapping[str, Any]) -> Figures:
    drifts = [row["drift"] for row in result["conserved"]]
    broken = [row["drift"] for row in result["broken"]]
    slopes = [row["slope"] for row in result["slopes"]]
    yield f"largest relative drift along gradient flow, {len(drifts)} laws", f"{max(drifts):.1e}"
    yield f"least drift where a condition is broken, {len(broken)} cases", f"{min(broken):.1e}"
    yield (
        f"slope of log drift in log step size, {len(slopes)} laws (theory 1)",
        f"{min(slopes):.3f} to {max(slopes):.3f}",
    )


def _generation(result: Mapping[str, Any]) -> Figures:
    made = f"{result['members']} members from {result['images']} images"
    yield f"{result['settings']['case']}: {made}", f"{result['seconds']:.0f} s, {result['peak_gib']:.1f} GiB"


def _ladder(result: Mapping[str, Any]) -> Figures:
    for name, side in result["sides"].items():
        strong = "at least as strong at every radius" if side["as_strong"] else "weaker somewhere"
        saved = f"{side['gradients_saved']:.1f}; {side['time_saved']:.1f} ({strong})"
        yield f"{name}: gradient passes and seconds of foolbox's PGD-40 over it", saved


def _latency(result: Mapping[str, Any]) -> Figures:
    for shape, entry in result["milliseconds"].items():
        for way, cost in entry["cost_ms"].items():
            yield f"{shape}, {way}: p50; what HTTP adds", f"{entry['ways'][way]['p50']['ms']:.2f} ms; {cost:.2f} ms"


def _serving(result: Mapping[str, Any]) -> Figures:
    for row in result["medians"]:
        kept, least, largest = row["kept_at_5"]
        value = f"{row['capacity'][0]:.0f} per second; {kept:.2f} [{least:.2f}, {largest:.2f}]"
        yield f"{row['system']}: capacity; goodput at five times it over that at once", value


def _kills(result: Mapping[str, Any]) -> Figures:
    same = result["report_digest_with_kills"] == result["report_digest_undisturbed"]
    yield f"{result['kills']} kills during one job: report", "the same digest" if same else "ANOTHER digest"
    runs = f"{result['executions']} for {result['shards']}, at most {result['most_executions_of_one_shard']} of one"
    yield "executions of shards under them", runs


def _standard(result: Mapping[str, Any]) -> Figures:
    for run in result["runs"]:
        value = f"{run['processor_seconds']:.0f} processor seconds, {run['peak_memory_mib']:.0f} MiB"
        yield f"suite `standard` on the demo's ensemble, {run['n']} images", value


def _undefended(result: Mapping[str, Any]) -> Figures:
    share = result["white_box"]["base"]
    radius = f"{result['settings']['epsilon'] * 255:.3g}/255"
    yield f"an undefended base under the white box, {radius}", f"{share['k']} of {share['n']} held"


def _stolen_base(result: Mapping[str, Any]) -> Figures:
    for row in result["rows"]:
        if row["attack"].startswith("worst case") and row["target"] in ("base", "ensemble", "independent_ensemble"):
            share = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}], n = {row['n']}"
            yield f"{row['attack']}, {row['epsilon'] * 255:.3g}/255: {row['target']}", share


def _stopping(result: Mapping[str, Any]) -> Figures:
    for row in result["rows"]:
        changed = f"{row['labels_changed']} of {row['n']} labels changed"
        yield (
            f"{row['rule']}: members used of {result['settings']['members']}",
            f"{row['share_of_members']:.1%}, {changed}",
        )


def _transfer_matrix(result: Mapping[str, Any]) -> Figures:
    verdicts = result["verdicts"]
    differ = f"{verdicts['differ']} of {verdicts['counted']} verdicts differ"
    yield f"one pass over separate runs, seconds (goal {result['goal']})", f"{result['ratio']:.2f} ({differ})"


def _zoo(result: Mapping[str, Any]) -> Figures:
    yield "torchvision networks on which everything held", f"{result['passed']} of {result['of']}"
    exact = [row["exact_error"] for row in result["networks"]]
    planted = [row["planted_error"] for row in result["networks"]]
    yield "exact actions: relative change of the logits, median and largest", f"{median(exact):.1e}, {max(exact):.1e}"
    yield "planted non-symmetry: the least", f"{min(planted):.2g}"


#: Result file without suffix -> (command that writes it, its figures).
READERS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Figures]]] = {
    "autoattack": ("python -m benchmarks.autoattack --write", _autoattack),
    "execution": ("python -m benchmarks.execution --threads 1", _execution),
    "figure10": ("python -m benchmarks.figures ensembles", _figure),
    "figure11": ("python -m benchmarks.figures ensembles", _figure),
    "figures": ("python -m benchmarks.figures speed", _figures),
    "flow": ("python -m benchmarks.flow", _flow),
    "generation-resnet18-224": ("python -m benchmarks.generation resnet18-224", _generation),
    "generation-resnet20": ("python -m benchmarks.generation resnet20", _generation),
    "ladder": ("python -m benchmarks.ladder --write", _ladder),
    "latency": ("python -m benchmarks.latency", _latency),
    "kills": ("python benchmarks/kills.py", _kills),
    "standard": ("python -m benchmarks.standard", _standard),
    "serving": ("python -m benchmarks.serving", _serving),
    "stolen_base": ("python -m benchmarks.stolen_base", _stolen_base),
    "stopping": ("python -m benchmarks.stopping", _stopping),
    "transfer_matrix": ("python -m benchmarks.transfer_matrix --write", _transfer_matrix),
    "undefended_base": ("python -m benchmarks.standard --base 200", _undefended),
    "zoo": ("python -m benchmarks.zoo", _zoo),
}
HEAD = """# Benchmarks

One question per file, named by it; each prints a table and writes JSON to `results/`. `make bench` runs those that
take minutes and need no data, `make bench-full` all, and both write this page, which is made by
`python -m benchmarks.readme` from the JSON files alone. Where the data say so, images are JPEG-re-encoded CIFAR-10:
such numbers are not comparable with published test-set numbers. One seed each where nothing else is said. The date is
that of the run, or, for files older than that field, that of their commit.

| benchmark | figure | value |
|---|---|---|
"""


def machine(result: Mapping[str, Any]) -> str:
    """Return the machine a result was measured on, as one line."""
    known = {**result.get("versions", {}), **result.get("environment", {}), **result.get("machine", {})}
    cores = f"{known['cores']} cores" if "cores" in known else "cores not recorded"
    device = known.get("device", known.get("machine", "cpu"))
    return f"{device}, {cores}, torch {known.get('torch', 'not recorded')}"


def page(folder: Path) -> str:
    """Return the text of the README for a folder of result files.

    Raises:
        KeyError: a result file has no reader.
    """
    rows, sources = [], []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        command, read = READERS[path.stem.removesuffix("-cuda")]
        rows += [f"| {path.stem} | {name} | {value} |" for name, value in read(result)]
        date = result.get("date", "not recorded")
        sources.append(f"| {path.stem} | {date} | {machine(result)} | `{command}` |")
    where = "\n## Where, when and how\n\n| benchmark | date | machine | command |\n|---|---|---|---|\n"
    return HEAD + "\n".join(rows) + "\n" + where + "\n".join(sources) + "\n"


def main() -> None:
    """Write the page."""
    (FOLDER / "README.md").write_text(page(FOLDER / "results"), encoding="utf-8")


if __name__ == "__main__":
    main()
