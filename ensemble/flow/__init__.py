"""Gradient flow: what symmetries conserve, where it starts, and the valley it ends in."""

from ensemble.flow.conserved import (
    attention_quantities,
    conserved_gradient,
    conserved_matrix,
    conserved_quantity,
    radial_power,
    softmax_quantities,
    unit_quantities,
)
from ensemble.flow.generators import algebra_dimension, separates_units, symmetric_projection
from ensemble.flow.initialisation import (
    HALF_SQUARE,
    INTEGRALS,
    POSITIVE_HALF_SQUARE,
    SCHEMES,
    SIGMOID_INTEGRAL,
    TANH_INTEGRAL,
    Distribution,
    Integral,
    Moments,
    Normal,
    Scheme,
    Shape,
    Uniform,
    quantity_moments,
    sample_quantities,
)
from ensemble.flow.rotations import (
    lower_angular_momentum,
    momentum_charge,
    total_angular_momentum,
    upper_angular_momentum,
)

__all__ = [
    # conserved quantities of two layers
    "attention_quantities",
    "conserved_gradient",
    "conserved_matrix",
    "conserved_quantity",
    "radial_power",
    "softmax_quantities",
    "unit_quantities",
    # generators and rotations
    "algebra_dimension",
    "lower_angular_momentum",
    "momentum_charge",
    "separates_units",
    "symmetric_projection",
    "total_angular_momentum",
    "upper_angular_momentum",
    # initialisation
    "Distribution",
    "HALF_SQUARE",
    "INTEGRALS",
    "Integral",
    "Moments",
    "Normal",
    "POSITIVE_HALF_SQUARE",
    "SCHEMES",
    "SIGMOID_INTEGRAL",
    "Scheme",
    "Shape",
    "TANH_INTEGRAL",
    "Uniform",
    "quantity_moments",
    "sample_quantities",
]
