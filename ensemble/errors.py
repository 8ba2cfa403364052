"""The exception tree of levelset.

    LevelsetError                       everything this distribution raises on purpose
      InputError (ValueError)           an argument is malformed: shape, dtype, range, bounds
        RecipeError                     a recipe field is unknown or outside its range
        UnknownName                     a name is not in a table; the message lists the known ones
      TraceError                        torch.fx cannot trace the network
      NoSiteError                       the network has no place where a group element can act
      CalibrationError                  the fit of the upper weights cannot be trusted
      ArtifactError                     a stored artifact is damaged, foreign or from a newer version

Each message says what failed, what was expected, what came, and what to do about it.
"""

from collections.abc import Iterable


class LevelsetError(Exception):
    """Root of the tree: catch this to catch everything levelset raises on purpose."""


class InputError(LevelsetError, ValueError):
    """An argument is malformed; nothing was changed."""


class RecipeError(InputError):
    """A recipe field is unknown or outside its declared range."""


class UnknownName(InputError):
    """A name is missing from a table of known names."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        listed = ", ".join(self.known) if self.known else "none"
        super().__init__(f"unknown {kind}: expected one of [{listed}], got {name!r}; choose a listed name")


class TraceError(LevelsetError):
    """torch.fx cannot follow the network's forward."""


class NoSiteError(LevelsetError):
    """The network offers no place where a group element can act."""


class CalibrationError(LevelsetError):
    """The least-squares fit of an upper weight cannot be trusted."""


class ArtifactError(LevelsetError):
    """A stored artifact is damaged, incomplete, foreign, or written by a newer version."""
