"""Rotations conserve nothing along gradient flow; they cancel angular momenta, and conserve a charge under momentum.

Seen to fail when: one layer's sign is flipped; U^T U' becomes U U'^T; the factor exp(zeta t) is left out or inverted.
"""

import torch
from torch import Tensor

from ensemble import flow
from ensemble.activations import IDENTITY, RADIAL, RELU, Activation
from tests.ensemble.flow.cases import any_inputs, normal, squared_loss, weights


def momenta(activation: Activation) -> tuple[Tensor, Tensor]:
    """Return the angular momenta of both layers under gradient flow."""
    p = weights()
    g = flow.loss_gradient(squared_loss(activation, any_inputs()), p)
    return flow.upper_angular_momentum(p["U"], -g["U"]), flow.lower_angular_momentum(p["V"], -g["V"])


def test_angular_momenta_of_the_layers_cancel() -> None:
    """For radial and linear networks the two are equal and opposite, and neither vanishes."""
    for row in (RADIAL, IDENTITY):
        upper, lower = momenta(row)
        assert float(upper.abs().max()) > 0.1
        torch.testing.assert_close(upper, -lower, rtol=0, atol=1e-12 * float(upper.abs().max()))


def test_they_do_not_cancel_without_the_symmetry() -> None:
    """ReLU is not rotation-symmetric, and its angular momenta add up to something."""
    upper, lower = momenta(RELU)
    assert float((upper + lower).abs().max()) > 0.1 * float(upper.abs().max())


def test_every_antisymmetric_generator_gives_the_constraint() -> None:
    """<theta', M theta> = 0 for the action (U M, -M V), the definition, for a random M; <theta, M theta> = 0 always."""
    p = weights()
    g = flow.loss_gradient(squared_loss(RADIAL, any_inputs()), p)
    M = normal(5, 5, seed=30)
    M = M - M.T
    pairing = (g["U"] * (p["U"] @ M)).sum() - (g["V"] * (M @ p["V"])).sum()
    assert abs(float(pairing)) < 1e-11
    assert abs(float((p["U"] * (p["U"] @ M)).sum())) < 1e-12


def test_momentum_conserves_the_charge_and_not_q() -> None:
    """Under theta'' + zeta theta' = -grad L the charge of rotations is constant; without its factor it decays."""
    p = weights()
    speed = {name: normal(*tensor.shape, seed=40) for name, tensor in p.items()}

    def charge(place, moving, time: float) -> Tensor:
        return flow.momentum_charge(place["U"], place["V"], moving["U"], moving["V"], friction=0.8, time=time)

    def bare(place, moving, time: float) -> Tensor:
        return flow.total_angular_momentum(place["U"], place["V"], moving["U"], moving["V"])

    def quantity(place, moving, time: float) -> Tensor:
        return flow.conserved_quantity(place["U"], place["V"], IDENTITY)

    for row in (RADIAL, IDENTITY):
        loss = squared_loss(row, any_inputs())
        paths = [
            flow.momentum_flow(loss, p, observe, friction=0.8, duration=0.5, velocity=speed, points=4)
            for observe in (charge, bare, quantity)
        ]
        size = float(paths[0].quantities.abs().max())
        assert size > 0.1
        assert float(paths[0].drift.max()) < 1e-8 * size
        assert float(paths[1].drift.max()) > 0.1 * size
        assert float(paths[2].drift.max()) > 0.01
