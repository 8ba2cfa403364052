"""The arena's table and plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

ORDER = ("stolen_base", "lgv_surrogate", "fresh_members", "white_box")


def table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """Return one line per contender: clean, worst case per attacker and radius (of 255), costs."""
    made = Table(title=title)
    for heading in ("contender", "M", "attacks", "clean"):
        made.add_column(heading)
    for name in ORDER:
        radii = rows[0]["own_epsilons" if name == "white_box" else "epsilons"]
        made.add_column(f"{name} {', '.join(f'{epsilon:g}' for epsilon in radii)}")
    for heading in ("ECE", "forward", "made in s"):
        made.add_column(heading)
    for row in rows:
        made.add_row(
            row["contender"],
            str(row["members"]),
            row["suite"],
            f"{row['clean']['value']:.3f}",
            *(_cell(row["worst"].get(name)) for name in ORDER),
            f"{row['ece']:.3f}",
            f"{row['forward_ratio']:.1f}",
            "" if row["generation_seconds"] is None else f"{row['generation_seconds']:.0f}",
        )
    return made


def _cell(shares: Sequence[Mapping[str, float]] | None) -> str:
    return "NOT-RUN" if shares is None else " ".join(f"{share['value']:.3f}".lstrip("0") for share in shares)


def plot(rows: Sequence[Mapping[str, Any]], epsilon: float, path: Path) -> None:
    """Draw clean accuracy against worst-case accuracy at one radius: stolen base and white box side by side.

    Args:
        rows: of the table.
        epsilon: of 255; attacked by everybody.
        path: the SVG file.
    """
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    for index, name in enumerate(("stolen_base", "white_box")):
        axes = figure.add_subplot(1, 2, index + 1)
        for row in rows:
            radii = row["own_epsilons" if name == "white_box" else "epsilons"]
            if name not in row["worst"] or epsilon not in radii:
                continue
            x, y = row["clean"]["value"], row["worst"][name][radii.index(epsilon)]
            spread = [[y["value"] - y["low"]], [y["high"] - y["value"]]]
            axes.errorbar([x], [y["value"]], yerr=spread, fmt="o", markersize=4, capsize=2)
            label = f"{row['contender']} {row['members']}"
            axes.annotate(label, (x, y["value"]), fontsize=6, xytext=(3, 3), textcoords="offset points")
        axes.set(xlabel="clean accuracy", ylabel=f"accuracy at {epsilon:g}/255", title=name, ylim=(-0.02, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
