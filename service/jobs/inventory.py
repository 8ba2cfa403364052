"""What this installation can do: collected once at start, from the tables themselves."""

from functools import cache
from importlib.metadata import version

from attacks.modes import MODES
from attacks.suites import SUITES
from attacks.threat import KNOWLEDGE, NORMS, default_threat
from service.catalogue import architectures
from service.jobs import data_sets
from service.routes.capabilities import Capabilities
from service.settings import Settings


def take_inventory(settings: Settings) -> Capabilities:
    """Return suites, data sets, architectures and library versions."""
    suites = {
        name: {"version": suite.version, "attacks": [row.to_dict() for row in suite.rows]}
        for name, suite in SUITES.items()
    }
    return Capabilities(
        suites=suites,
        threat_models=tuple(KNOWLEDGE),
        norms=tuple(NORMS),
        datasets=tuple(data_sets.names(settings)),
        architectures=cache(lambda: tuple(architectures.known())),
        modes=MODES,
        versions={name: version(name) for name in ("torch", "foolbox", "dbos")},
        radii={
            str(channels): {norm: default_threat((channels, 1, 1), norm=norm).epsilons for norm in NORMS}
            for channels in (1, 3)
        },
    )
