"""Many models from one: symmetry ensembles of a trained PyTorch classifier."""

from ensemble import architectures, controls, flow
from ensemble.activations import activation
from ensemble.architectures import Architecture
from ensemble.artifact import load
from ensemble.digests import network_digest, tensor_digest
from ensemble.generate import generate
from ensemble.generation import Generation, SiteReport
from ensemble.hardening import Hardening, HardeningReport, harden
from ensemble.members import SymmetryEnsemble
from ensemble.prediction import Prediction
from ensemble.progress import Progress
from ensemble.recipe import Recipe, presets
from ensemble.sites import Site, find_sites

__all__ = [
    # generation
    "Generation",
    "Hardening",
    "HardeningReport",
    "Progress",
    "Recipe",
    "SiteReport",
    "generate",
    "harden",
    "presets",
    # ensembles
    "Prediction",
    "SymmetryEnsemble",
    "load",
    # structure
    "Architecture",
    "Site",
    "activation",
    "architectures",
    "controls",
    "find_sites",
    # gradient flow
    "flow",
    # identity
    "network_digest",
    "tensor_digest",
]
