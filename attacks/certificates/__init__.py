"""Lower bounds on accuracy under every perturbation of a ball: the bracket below what attacks leave."""

from attacks.certificates.bracket import Certificate, CertificateContradiction, refuse_contradictions
from attacks.certificates.ensembles import RULES, certified_flags
from attacks.certificates.interval import NoRule, margin_bounds
from attacks.certificates.run import certify, inherited

__all__ = [
    "RULES",
    "Certificate",
    "CertificateContradiction",
    "NoRule",
    "certified_flags",
    "certify",
    "inherited",
    "margin_bounds",
    "refuse_contradictions",
]
