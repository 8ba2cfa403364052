"""What an attacker crafts on."""

from dataclasses import dataclass

from attacks.targets import NetworkModel


@dataclass(frozen=True, slots=True, eq=False)
class Surrogate:
    """A network the attacker holds.

    Attributes:
        name: "base" for the stolen base, "target" where the attacker holds the target itself.
        model: what gradients are taken through.
        digest: SHA-256 of its weights and buffers; examples depend on this, never on the network judged.
    """

    name: str
    model: NetworkModel
    digest: str


def stolen_base(model: NetworkModel, digest: str) -> Surrogate:
    """Return the surrogate of an attacker who has stolen the base network."""
    return Surrogate("base", model, digest)


def target_itself(model: NetworkModel, digest: str) -> Surrogate:
    """Return the surrogate of a white-box attacker: the target as served."""
    return Surrogate("target", model, digest)
