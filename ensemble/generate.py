"""From one trained network to many: base + calibration inputs + recipe + rng -> `SymmetryEnsemble`, site by site.

Each member is built in the order of its sites, with the member's own activations going in and the base's clean
activations as target, so that what one site misses the next one corrects (docs/mathematics.md, section 6). No label is
used: crafted calibration inputs are made against the base's own prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ensemble.builder import Builder, Member
from ensemble.crafting import craft
from ensemble.digests import network_digest, tensor_digest
from ensemble.errors import CalibrationError, InputError
from ensemble.generation import Generation, ScaleTrial
from ensemble.graph import trace
from ensemble.hardening import Hardened, harden
from ensemble.layers import fold
from ensemble.members import MemberLayers, SymmetryEnsemble
from ensemble.progress import Progress, ProgressCallback
from ensemble.recipe import Recipe
from ensemble.selection import gradient_similarity, most_diverse
from ensemble.sites import sites_of

#: Multipliers of the recipe's scale that `max_clean_drop` tries, in order.
SCALE_FACTORS = (1.0, 0.7, 0.5, 0.35, 0.2, 0.1)
#: Calibration inputs on which candidates' gradients are compared.
SELECTION_INPUTS = 128


def generate(
    network: nn.Module,
    calibration: Tensor,
    *,
    members: int = 8,
    recipe: Recipe | None = None,
    rng: torch.Generator,
    progress: ProgressCallback | None = None,
    checkpoints: Path | None = None,
) -> SymmetryEnsemble:
    """Return an ensemble of `members` networks on (almost) the base's level set.

    Args:
        network: trained classifier in evaluation mode, inputs `[batch channel height width]` (or `[batch features]`) to
            logits `[batch classes]`; it is copied, never changed or moved.
        calibration: unlabelled inputs `[n ...]` on the network's device, inside the recipe's bounds.
        members: how many members.
        recipe: settings; None for the preset `balanced`.
        rng: CPU generator; the same seed on the same device gives the same bytes.
        progress: called after every finished step.
        checkpoints: a folder for the state of a recipe's hardening; interrupted, it goes on from there. None for none.

    Raises:
        InputError: wrong shapes, non-finite or constant calibration inputs, values outside the bounds, members < 1,
            training mode, NaN weights, mixed devices or dtypes.
        TraceError: torch.fx cannot follow the forward.
        NoSiteError: the network has no site.
        CalibrationError: a refit cannot be trusted, for example with fewer rows than it has regressors.
    """
    preparation = prepare(
        network, calibration, members=members, recipe=recipe, rng=rng, progress=progress, checkpoints=checkpoints
    )
    return preparation.assemble([preparation.member(index) for index in range(preparation.candidates)])


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """What is done once before any member is built; members are then built one by one, in any order or process.

    Attributes:
        network: the base.
        hardened: its refined copy, which is then the trunk; None where the trunk is the base.
        calibration: clean inputs `[n ...]`.
        members: how many the ensemble will have.
        builder: what builds one, its scale fitted.
        trials: scales that were tried.
        seed: initial seed of the generator.
        member_seeds: seed of every candidate, spare ones last.
    """

    network: nn.Module
    hardened: Hardened | None
    calibration: Tensor
    members: int
    builder: Builder
    trials: tuple[ScaleTrial, ...]
    seed: int
    member_seeds: tuple[int, ...]

    @property
    def trunk(self) -> nn.Module:
        """Return the network that members are built from."""
        return self.network if self.hardened is None else self.hardened.network

    @property
    def candidates(self) -> int:
        """Return how many members are built before the most diverse are kept."""
        return len(self.member_seeds)

    def member(self, index: int) -> Member:
        """Return candidate `index`, whatever came before it.

        Raises:
            CalibrationError: every draw failed its gates, or a refit cannot be trusted.
        """
        return self.builder.member(index, torch.Generator().manual_seed(self.member_seeds[index]))

    def assemble(self, built: Sequence[Member]) -> SymmetryEnsemble:
        """Return the ensemble of all candidates, given in order.

        Raises:
            InputError: not all candidates were given.
        """
        if len(built) != self.candidates:
            raise InputError(f"members: expected {self.candidates} candidates, got {len(built)}; build the others")
        wanted = self.candidates - self.builder.recipe.spare_members
        if self.candidates > wanted > 0:
            candidates = self._joined([member.layers for member in built])
            kept = most_diverse(gradient_similarity(candidates, self.calibration[:SELECTION_INPUTS]), wanted)
            built = [built[index] for index in kept]
        built = built[:wanted]
        ensemble = self._joined([member.layers for member in built] + self._trunk_layers())
        return ensemble.with_generation(
            Generation(
                recipe=self.builder.recipe,
                seed=self.seed,
                calibration_rows=self.calibration.shape[0],
                calibration_digest=tensor_digest(self.calibration),
                base_digest=network_digest(self.network),
                sites=tuple(member.sites for member in built),
                agreement=_agreement(self.network, ensemble, self.builder.clean),
                redraws=tuple(redraw for member in built for redraw in member.redraws),
                scale_trials=self.trials,
                candidates=self.candidates,
                hardening=None if self.hardened is None else self.hardened.report,
            )
        )

    def _trunk_layers(self) -> list[MemberLayers]:
        """Return the trunk as a member, as the last of none or one: its own layers at the members' places."""
        if self.candidates - self.builder.recipe.spare_members == self.members:
            return []
        refs = dict.fromkeys(ref for site in self.builder.sites for ref in (site.lower, site.upper))
        return [{ref: fold(self.trunk, ref) for ref in refs}]

    def _joined(self, members: Sequence[MemberLayers]) -> SymmetryEnsemble:
        return SymmetryEnsemble.from_members(self.network, self.calibration, members, trunk=self.trunk)


def prepare(
    network: nn.Module,
    calibration: Tensor,
    *,
    members: int = 8,
    recipe: Recipe | None = None,
    rng: torch.Generator,
    progress: ProgressCallback | None = None,
    checkpoints: Path | None = None,
) -> Preparation:
    """Return what `generate` does once before it builds members; arguments and errors are those of `generate`."""
    settings = Recipe() if recipe is None else recipe
    _check_kinds(network, settings, rng)
    _check(calibration, members, settings)
    candidates = settings.built(members)
    seed = rng.initial_seed()
    hardened = None
    if settings.hardening is not None:
        hardened = harden(
            network,
            calibration,
            settings=settings.hardening,
            bounds=settings.bounds,
            rng=rng,
            progress=progress,
            checkpoints=checkpoints,
        )
    trunk = network if hardened is None else hardened.network
    clean = calibration[: settings.fit_inputs]
    traced = trace(trunk, clean)
    sites = sites_of(traced)[-(settings.last_sites or 0) :]
    report = _Reporter(progress, total=1 + candidates * len(sites))
    inputs = _with_crafted(trunk, clean, settings, rng)
    report.step(f"crafted {inputs.shape[0] - clean.shape[0]} calibration inputs on the base")
    builder, trials = fit_scale(trunk, Builder(traced, sites, clean, inputs, settings, report.step), rng)
    # One seed per member: member k does not depend on how many come after it.
    member_seeds = tuple(_child_seed(rng) for _ in range(candidates))
    return Preparation(network, hardened, calibration, members, builder, trials, seed, member_seeds)


def fit_scale(network: nn.Module, builder: Builder, rng: torch.Generator) -> tuple[Builder, tuple[ScaleTrial, ...]]:
    """Return a builder whose scale keeps the clean drop within the recipe's bound, and the scales that were tried.

    A member is built from four fifths of the calibration inputs and compared with the base on the rest, at falling
    scales, until its share of other labels is within `max_clean_drop`: at least its loss of clean accuracy.

    Raises:
        CalibrationError: no scale keeps the bound.
    """
    bound = builder.recipe.max_clean_drop
    if bound is None:
        return builder, ()
    count = len(builder.clean)
    held_out, used = max(count // 5, 1), count - max(count // 5, 1)
    copies = len(builder.inputs) // count
    kept = torch.cat([torch.arange(used) + copy * count for copy in range(copies)]).to(builder.inputs.device)
    trials: list[ScaleTrial] = []
    state = rng.get_state()
    for factor in SCALE_FACTORS:
        recipe = replace(builder.recipe, scale=builder.recipe.scale * factor)
        rng.set_state(state)
        trial = replace(builder, recipe=recipe, clean=builder.clean[:used], inputs=builder.inputs[kept])
        member = trial.member(0, _child(rng))
        alone = SymmetryEnsemble.from_members(network, builder.clean, [member.layers])
        (agreement,) = _agreement(network, alone, builder.clean[used:])
        trials.append(ScaleTrial(scale=recipe.scale, clean_drop=1 - agreement))
        if 1 - agreement <= bound:
            return replace(builder, recipe=recipe), tuple(trials)
    raise CalibrationError(
        f"max_clean_drop: expected a member within {bound:g} of the base on {held_out} held-out inputs, got "
        f"{min(trial.clean_drop for trial in trials):g} at best; add calibration inputs or raise the bound"
    )


def _child(rng: torch.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(_child_seed(rng))


def _child_seed(rng: torch.Generator) -> int:
    return int(torch.randint(2**62, (1,), generator=rng))


def _with_crafted(network: nn.Module, clean: Tensor, recipe: Recipe, rng: torch.Generator) -> Tensor:
    copies = [
        craft(network, clean, radius=radius, steps=recipe.crafting_steps, bounds=recipe.bounds, rng=rng)
        for radius in recipe.crafting_radii
    ]
    return torch.cat([clean, *copies])


def _agreement(network: nn.Module, ensemble: SymmetryEnsemble, inputs: Tensor, chunk: int = 128) -> tuple[float, ...]:
    """Return, per member, the share of calibration inputs on which its label is the base's."""
    with torch.no_grad():
        base = torch.cat([network(part).argmax(1) for part in inputs.split(chunk)])
        labels = torch.cat([ensemble.member_logits(part).argmax(2) for part in inputs.split(chunk)], dim=1)
    return tuple(float(share) for share in (labels == base).float().mean(1))


def _check_kinds(network: object, recipe: object, rng: object) -> None:
    wanted: tuple[tuple[str, object, type], ...] = (
        ("network", network, nn.Module),
        ("recipe", recipe, Recipe),
        ("rng", rng, torch.Generator),
    )
    for name, value, kind in wanted:
        if not isinstance(value, kind):
            raise InputError(f"{name}: expected a {kind.__module__}.{kind.__name__}, got {type(value).__name__}")


def _check(calibration: Tensor, members: int, recipe: Recipe) -> None:
    if not isinstance(members, int) or isinstance(members, bool) or members < 1:
        raise InputError(f"members: expected an integer >= 1, got {members!r}")
    if not isinstance(calibration, Tensor) or calibration.ndim < 2 or calibration.shape[0] < 2:
        shape = tuple(calibration.shape) if isinstance(calibration, Tensor) else type(calibration).__name__
        raise InputError(f"calibration: expected a tensor [n ...] of at least 2 inputs, got {shape}")
    if not calibration.is_floating_point():
        raise InputError(f"calibration: expected a floating dtype (the network's), got {calibration.dtype}")
    if not bool(torch.isfinite(calibration).all()):
        raise InputError("calibration: expected finite values, got NaN or infinity; drop the damaged inputs")
    low, high = float(calibration.min()), float(calibration.max())
    if low < recipe.bounds[0] or high > recipe.bounds[1]:
        raise InputError(
            f"calibration: expected values in {list(recipe.bounds)}, got [{low:g}, {high:g}]; "
            "scale the inputs (normalisation belongs to the network) or set the recipe's bounds"
        )
    if bool((calibration == calibration[:1]).all()):
        raise InputError(
            "calibration: expected different inputs, got one input repeated; use inputs drawn from the data"
        )


class _Reporter:
    def __init__(self, callback: ProgressCallback | None, total: int) -> None:
        self._callback, self._total, self._done = callback, total, 0

    def step(self, message: str) -> None:
        self._done += 1
        # Redraws and trials of the scale come on top of the plan.
        self._total = max(self._total, self._done)
        if self._callback is not None:
            self._callback(Progress(self._done, self._total, message))
