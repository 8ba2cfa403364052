"""The only place that wraps a network or an ensemble for foolbox.

A wrapped model answers logits (or log-probabilities) in eval mode, where its weights already are, and counts its
passes. The network itself is neither changed nor moved.
"""

from attacks.targets.coding import CODINGS, FLOAT32, UINT8, AsSent, Coding, Rounded, coding_named
from attacks.targets.failures import ModelFailure, OutOfMemory, fits_in_memory
from attacks.targets.models import EnsembleModel, HasMembers, NetworkModel, Passes, device_of
from attacks.targets.wrapping import check_gradient, looks_like_probabilities, with_mode, wrap

__all__ = [
    # models
    "EnsembleModel",
    "HasMembers",
    "NetworkModel",
    "Passes",
    "check_gradient",
    "device_of",
    "looks_like_probabilities",
    "with_mode",
    "wrap",
    # how inputs arrive
    "CODINGS",
    "FLOAT32",
    "UINT8",
    "AsSent",
    "Coding",
    "Rounded",
    "coding_named",
    # failures
    "ModelFailure",
    "OutOfMemory",
    "fits_in_memory",
]
