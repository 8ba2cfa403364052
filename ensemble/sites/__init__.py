"""The places where a group element can act: lower layer [+ BatchNorm], activation, what keeps units apart, upper layer.

A site is data: module and node names of one traced network. Finding sites changes nothing.
"""

from ensemble.sites.find import Survey, coupled_sites, find_sites, refused_sites, sites_of, survey
from ensemble.sites.site import CoupledSite, Part, RefusedSite, Role, Site

__all__ = [
    # values
    "CoupledSite",
    "Part",
    "RefusedSite",
    "Role",
    "Site",
    "Survey",
    # finding them
    "coupled_sites",
    "find_sites",
    "refused_sites",
    "sites_of",
    "survey",
]
