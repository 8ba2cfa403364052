"""Draw the pictures of docs/conserved-quantities.md, docs/valley-coordinates.md and docs/why-rotations-fail.md."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn

from ensemble import flow
from ensemble.activations import RADIAL, RELU, TANH

FOLDER = Path(__file__).parents[1] / "docs" / "images"


def main() -> None:
    """Draw all three."""
    torch.set_num_threads(1)
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "levelset", "svg.fonttype": "none", "font.size": 9})
    _conserved()
    _valley()
    _rotations()


def _normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _two_layer(activation, inputs: Tensor):
    parameters = {"U": 0.7 * _normal(3, 5, seed=1), "V": 0.7 * _normal(5, 4, seed=2)}
    targets = _normal(len(inputs), 3, seed=3)

    def loss(p) -> Tensor:
        return (activation.function(inputs @ p["V"].T) @ p["U"].T - targets).square().sum() / 2

    return loss, parameters


def _conserved() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    one = torch.eye(4, dtype=torch.float64)
    white = torch.linalg.qr(_normal(12, 4, seed=9)).Q
    for name, inputs, style in (("inputs X = 1", one, "-"), ("inputs only whitened", white, "--")):
        loss, parameters = _two_layer(TANH, inputs)
        path = flow.gradient_flow(
            loss, parameters, lambda p: flow.conserved_quantity(p["U"], p["V"], TANH), duration=1.0, points=60
        )
        left.plot(path.times, path.quantities, style, label=name)
    left.set(xlabel="time along gradient flow", ylabel="Q", title="tanh: the condition matters")
    left.legend(frameon=False)
    loss, parameters = _two_layer(RELU, _normal(4, 4, seed=7))
    rates = np.geomspace(1e-4, 1e-2, 7)
    drifts = []
    for rate in rates:
        descent = flow.Descent(rate=float(rate), steps=round(0.1 / rate))
        found = flow.gradient_descent(loss, parameters, lambda p: flow.unit_quantities(p["U"], p["V"], RELU), descent)
        drifts.append(float(found.drift.max()))
    right.loglog(rates, drifts, "o", label="gradient descent")
    right.loglog(rates, drifts[0] * rates / rates[0], "-", lw=0.8, label="slope 1")
    right.set(xlabel="step size", ylabel="drift of Q at a fixed time", title="ReLU: descent leaves the level set")
    right.legend(frameon=False)
    _save(figure, "conserved.svg")


def _valley() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    grid = np.linspace(-2.6, 2.6, 200)
    u, v = np.meshgrid(grid, grid)
    height = np.log10((1 - u * v) ** 2 / 2 + 1e-4)
    left.imshow(height, extent=(-2.6, 2.6, -2.6, 2.6), origin="lower", cmap="Greys_r", aspect="auto")
    for angle in np.arange(16) * np.pi / 8 + 0.1:
        start = 2.4 * torch.tensor([np.cos(angle), np.sin(angle)]).reshape(2, 1, 1)
        path = flow.gradient_flow(
            lambda p: (1 - p["u"] * p["v"]).square().sum() / 2, {"u": start[0], "v": start[1]},
            lambda p: torch.cat([p["u"], p["v"]]).reshape(-1), duration=6.0, points=80,
        )  # fmt: skip
        left.plot(*path.quantities.T, lw=1.2)
        left.plot(*path.quantities[-1], "k.", ms=4)
    left.set(xlabel="u", ylabel="v", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), title="flow keeps Q: where it starts, it ends")
    network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).double().eval()
    with torch.no_grad():
        for index, parameter in enumerate(network.parameters()):
            parameter.copy_(0.5 * _normal(*parameter.shape, seed=index))
    inputs = _normal(200, 4, seed=50)
    wanted = network(inputs).detach()

    def loss(p) -> Tensor:
        return (torch.func.functional_call(network, p, (inputs,)) - wanted).square().mean()

    ends = flow.sample_valley(network, inputs, count=2, scale=0.8, rng=torch.Generator().manual_seed(0))
    start, end = (flow.parameters_of(point) for point in ends)
    for name, path in (("straight line", flow.straight_path(start, end)), ("orbit", flow.orbit_path(start, end))):
        found = flow.path_loss(path, loss, points=50)
        right.plot(found.times, found.losses, label=name)
    right.set(xlabel="from one point of the valley to another", ylabel="loss", title="the valley is curved")
    right.legend(frameon=False)
    _save(figure, "valley.svg")


def _rotations() -> None:
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True)
    inputs = _normal(5, 4, seed=7)
    for axis, row, title in ((axes[0], RADIAL, "radial: they cancel"), (axes[1], RELU, "ReLU: they do not")):
        loss, parameters = _two_layer(row, inputs)

        def momenta(p, loss=loss) -> Tensor:
            g = flow.loss_gradient(loss, p)
            upper = flow.upper_angular_momentum(p["U"], -g["U"])[0, 1]
            lower = flow.lower_angular_momentum(p["V"], -g["V"])[0, 1]
            return torch.stack([upper, lower, upper + lower])

        path = flow.gradient_flow(loss, parameters, momenta, duration=0.05, points=50, tolerance=1e-9)
        for values, name, style in zip(
            path.quantities.T, ("upper layer", "lower layer", "sum"), ("-", "-", "k--"), strict=True
        ):
            axis.plot(path.times, values, style, label=name)
        axis.set(xlabel="time along gradient flow", title=title)
    axes[0].set(ylabel="angular momentum of units 0 and 1")
    axes[0].legend(frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.7))
    _save(figure, "rotations.svg")


def _save(figure, name: str) -> None:
    figure.tight_layout()
    figure.savefig(FOLDER / name, metadata={"Date": None})
    plt.close(figure)
    print(FOLDER / name)


if __name__ == "__main__":
    main()
