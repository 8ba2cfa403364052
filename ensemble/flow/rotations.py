r"""What rotations leave: no conserved quantity, but a constraint on velocities, and a charge under momentum.

For an antisymmetric generator M, <theta, M theta> = 0 identically, so there is no Q. Invariance of the loss still gives
<theta', M theta> = 0 along gradient flow: the angular momenta of the two layers cancel. It constrains velocities and
cuts no level set. With momentum, theta'' + zeta theta' = -grad L, the charge exp(zeta t) <theta', M theta> is constant.
Derived here; docs/mathematics.md, section 12.
"""

import math

from torch import Tensor


def upper_angular_momentum(U: Tensor, velocity: Tensor) -> Tensor:
    """Return U^T U' - U'^T U `[... hidden hidden]` of an upper weight `[... out hidden]`, antisymmetric."""
    return U.mT @ velocity - velocity.mT @ U


def lower_angular_momentum(V: Tensor, velocity: Tensor) -> Tensor:
    """Return V V'^T - V' V^T `[... hidden hidden]` of a lower weight `[... hidden inp]`; a bias is a further column."""
    return V @ velocity.mT - velocity @ V.mT


def total_angular_momentum(U: Tensor, V: Tensor, U_velocity: Tensor, V_velocity: Tensor) -> Tensor:
    """Return the sum over both layers `[... hidden hidden]`: zero along gradient flow of a rotation-symmetric network.

    Neither summand is zero on its own; they cancel. That is all that a rotation symmetry leaves.
    """
    return upper_angular_momentum(U, U_velocity) + lower_angular_momentum(V, V_velocity)


def momentum_charge(
    U: Tensor, V: Tensor, U_velocity: Tensor, V_velocity: Tensor, *, friction: float, time: float
) -> Tensor:
    """Return exp(zeta t) times the total angular momentum: constant along theta'' + zeta theta' = -grad L.

    The split is the opposite of gradient flow's: rotations conserve under momentum, symmetric generators do not.
    """
    return math.exp(friction * time) * total_angular_momentum(U, V, U_velocity, V_velocity)
