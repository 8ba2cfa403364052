"""What this installation can do: collected once at start, from the tables themselves."""

from dataclasses import asdict
from functools import cache
from importlib.metadata import version

import ensemble
from attacks.kinds import KINDS
from attacks.modes import MODES
from attacks.parameters import parameter_schema
from attacks.report import EvaluationReport
from attacks.suites import SUITES
from attacks.threat import KNOWLEDGE, NORMS, default_threat
from ensemble import activations
from service.catalogue import architectures
from service.jobs import data_sets
from service.jobs.orders import JOBS
from service.routes.capabilities import Capabilities
from service.settings import Settings


def _users(kind: str) -> set[str]:
    return {name for name, suite in SUITES.items() if any(row.kind == kind for row in suite.rows)}


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
        attacks={
            name: {**asdict(kind), "in_suites": sorted(_users(name)), "parameters": parameter_schema(name)}
            for name, kind in KINDS.items()
        },
        recipes={name: asdict(recipe) for name, recipe in ensemble.presets.items()},
        groups={row.name: {"group": row.group.name, "degree": row.degree} for row in activations.TABLE},
        job_types=tuple(JOBS),
        report_schema=EvaluationReport.json_schema(),
        versions={name: version(name) for name in ("torch", "foolbox", "dbos")},
        radii={
            str(channels): {norm: default_threat((channels, 1, 1), norm=norm).epsilons for norm in NORMS}
            for channels in (1, 3)
        },
    )
