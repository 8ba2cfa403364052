"""What an attacker crafts on: networks it holds, and pools of networks it makes from what it knows."""

from attacks.surrogates.fresh_members import FreshMembers, recipe_of
from attacks.surrogates.held import (
    JointModel,
    Surrogate,
    ensemble_of,
    independent,
    leaked_member,
    stolen_base,
    target_itself,
)
from attacks.surrogates.lgv import CollectedWeights, LgvSettings, StackedNetworks
from attacks.surrogates.pools import FORMS, Material, MemberPerStep, Pool, form_digest, mean_of_pool, one_per_step
from attacks.surrogates.samples import check_own_sample

__all__ = [
    # networks an attacker holds
    "JointModel",
    "Surrogate",
    "ensemble_of",
    "independent",
    "leaked_member",
    "stolen_base",
    "target_itself",
    # what it makes
    "CollectedWeights",
    "FreshMembers",
    "LgvSettings",
    "Material",
    "StackedNetworks",
    "check_own_sample",
    "recipe_of",
    # how it crafts on a pool
    "FORMS",
    "MemberPerStep",
    "Pool",
    "form_digest",
    "mean_of_pool",
    "one_per_step",
]
