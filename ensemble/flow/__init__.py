"""Gradient flow: what symmetries conserve, how training keeps or breaks it, and the valley it ends in."""

from ensemble.flow.conserved import (
    attention_quantities,
    conserved_gradient,
    conserved_matrix,
    conserved_quantity,
    radial_power,
    softmax_quantities,
    unit_quantities,
)
from ensemble.flow.coordinates import coordinates
from ensemble.flow.descent import Descent, drift_identity, drift_slope, gradient_descent
from ensemble.flow.dimension import (
    LawCount,
    count_laws,
    linear_law_count,
    linear_orbit_dimension,
    minimum_dimension,
    orbit_dimension,
    radial_orbit_dimension,
    symmetry_dimension,
)
from ensemble.flow.dynamics import Trajectory, gradient_flow, momentum_flow
from ensemble.flow.generators import algebra_basis, algebra_dimension, separates_units, symmetric_projection
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
from ensemble.flow.law import Law
from ensemble.flow.laws import laws, unit_laws
from ensemble.flow.layer_laws import AttentionLaw, ElementwiseLaw, NormLaw
from ensemble.flow.monitor import ConservationMonitor, SiteDrift
from ensemble.flow.orthogonality import directional_derivative, flow_cosines, loss_gradient
from ensemble.flow.paths import PathLoss, network_loss, orbit_path, parameters_of, path_loss, straight_path
from ensemble.flow.rotations import (
    lower_angular_momentum,
    momentum_charge,
    total_angular_momentum,
    upper_angular_momentum,
)
from ensemble.flow.scaling import MatrixLaw, ScalingLaw, Term
from ensemble.flow.sharpness import (
    Spectrum,
    convergence_rate,
    hessian,
    hessian_product,
    largest_eigenvalues,
    unit_sharpness,
)
from ensemble.flow.valley import balance_factors, go_to, move, rebalance, sample_valley, scaled

__all__ = [
    # conserved quantities of two layers
    "attention_quantities",
    "conserved_gradient",
    "conserved_matrix",
    "conserved_quantity",
    "radial_power",
    "softmax_quantities",
    "unit_quantities",
    # conservation laws of any network
    "AttentionLaw",
    "ElementwiseLaw",
    "Law",
    "MatrixLaw",
    "NormLaw",
    "ScalingLaw",
    "Term",
    "coordinates",
    "directional_derivative",
    "flow_cosines",
    "laws",
    "loss_gradient",
    "unit_laws",
    # generators and rotations
    "algebra_basis",
    "algebra_dimension",
    "lower_angular_momentum",
    "momentum_charge",
    "separates_units",
    "symmetric_projection",
    "total_angular_momentum",
    "upper_angular_momentum",
    # dynamics
    "ConservationMonitor",
    "Descent",
    "SiteDrift",
    "Trajectory",
    "drift_identity",
    "drift_slope",
    "gradient_descent",
    "gradient_flow",
    "momentum_flow",
    # the valley
    "PathLoss",
    "balance_factors",
    "go_to",
    "move",
    "network_loss",
    "orbit_path",
    "parameters_of",
    "path_loss",
    "rebalance",
    "sample_valley",
    "scaled",
    "straight_path",
    # dimensions
    "LawCount",
    "count_laws",
    "linear_law_count",
    "linear_orbit_dimension",
    "minimum_dimension",
    "orbit_dimension",
    "radial_orbit_dimension",
    "symmetry_dimension",
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
    # rate and sharpness
    "Spectrum",
    "convergence_rate",
    "hessian",
    "hessian_product",
    "largest_eigenvalues",
    "unit_sharpness",
]
