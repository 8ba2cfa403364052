"""Jobs of type `generate`: an ensemble from a stored base network, one member per step, a hardening before them."""

import fcntl
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

import ensemble
from ensemble.builder import Member
from ensemble.generate import Preparation, prepare
from ensemble.generation import Redraw, SiteReport
from ensemble.layers import FoldedLayer, LayerRef
from service.catalogue.base_models import BaseModels
from service.catalogue.building import TrainedNetwork, calibration_inputs, store
from service.catalogue.datasets import DataSet
from service.catalogue.repository import ModelRepository
from service.errors import DamagedArtifact, Gone, NotFound
from service.jobs.benches import Step, SteppedBench
from service.jobs.data_sets import open_dataset
from service.settings import Settings
from service.store.canonical import canonical, digest

KEPT: Final = 2  # preparations held ready; jobs that interleave use one each
HARDENING: Final = -1  # index of the step that refines the trunk
SCHEMA: Final = "generate-1"  # raised when the result of a step changes


class GeneratingBench(SteppedBench):
    """Builds ensembles member by member; a killed process loses one member, or a few steps of the hardening."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._prepared: OrderedDict[str, tuple[TrainedNetwork, DataSet, Preparation]] = OrderedDict()

    def steps(self, spec: Mapping[str, Any]) -> Sequence[Step]:
        """Return one step per candidate, spare ones included, after the hardening where the recipe has one."""
        content = {name: value for name, value in spec.items() if name not in ("name", "members", "base")}
        content |= {
            "schema": SCHEMA,
            "versions": {name: version(name) for name in ("levelset", "torch")},
            "device": self.settings.device.partition(":")[0],
            "threads": self.settings.threads,
        }
        recipe = ensemble.Recipe.from_dict(spec["recipe"])
        count = recipe.built(spec["members"])
        first = (
            [] if recipe.hardening is None else [Step(digest({**content, "member": HARDENING}), "hardening", HARDENING)]
        )
        return first + [Step(digest({**content, "member": index}), f"member {index}", index) for index in range(count)]

    def work(self, spec: Mapping[str, Any], step: Step) -> dict[str, Any]:
        """Return the record of a member whose weights are stored, or the digest of the refined trunk."""
        _, _, preparation = self._preparation(spec)
        if step.index == HARDENING:
            return {"trunk": ensemble.network_digest(preparation.trunk)}
        member = preparation.member(step.index)
        tensors = {}
        for index, layer in enumerate(member.layers.values()):
            tensors[f"{index}.weight"] = layer.weight.detach().cpu().contiguous()
            if layer.bias is not None:
                tensors[f"{index}.bias"] = layer.bias.detach().cpu().contiguous()
        return {
            "weights": self.artifacts.put(save(tensors)),
            "layers": [[ref.layer, ref.norm] for ref in member.layers],
            "sites": [asdict(site) for site in member.sites],
            "redraws": [asdict(redraw) for redraw in member.redraws],
        }

    def finish(self, spec: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return name and version of the stored ensemble; what is stored already is not stored again."""
        base, dataset, preparation = self._preparation(spec)
        members = [result for result in results if "weights" in result]
        model = preparation.assemble([self._member(result, base.network) for result in members])
        repository = ModelRepository(self.settings.models_folder)
        info = store(base, dataset, spec["name"], model, repository, base_name=spec["base"])
        record = canonical({**info.generation, "ensemble": info.name, "version": info.version, "digest": info.digest})
        result = {
            "ensemble": info.name,
            "version": info.version,
            "digest": info.digest,
            "members": info.members,
            "agreement": info.generation["agreement"],
            "redraws": len(info.generation["redraws"]),
        }
        return {"result": result, "files": [self.file("generation.json", record, "application/json")]}

    def is_whole(self, result: Mapping[str, Any]) -> bool:
        """Return whether the weights of the member are still there."""
        if "weights" not in result:
            return True
        try:
            self.artifacts.get(result["weights"])
        except (Gone, DamagedArtifact):
            return False
        return True

    def _member(self, result: Mapping[str, Any], network: nn.Module) -> Member:
        device = next(network.parameters()).device
        try:
            tensors = load(self.artifacts.get(result["weights"]))
        except SafetensorError as error:
            raise DamagedArtifact(f"member: its stored weights cannot be read ({error}); run the job again") from None
        layers = {}
        for index, (name, norm) in enumerate(result["layers"]):
            template: Any = network.get_submodule(name)
            bias = tensors.get(f"{index}.bias")
            layers[LayerRef(name, norm)] = FoldedLayer(
                template, tensors[f"{index}.weight"].to(device), None if bias is None else bias.to(device)
            )
        sites = tuple(SiteReport(**site) for site in result["sites"])
        return Member(layers, sites, tuple(Redraw(**redraw) for redraw in result["redraws"]))

    def _preparation(self, spec: Mapping[str, Any]) -> tuple[TrainedNetwork, DataSet, Preparation]:
        name = digest(spec)
        if name not in self._prepared:
            self._prepared[name] = self._prepare(spec)
            while len(self._prepared) > KEPT:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(name)
        return self._prepared[name]

    def _prepare(self, spec: Mapping[str, Any]) -> tuple[TrainedNetwork, DataSet, Preparation]:
        bases = BaseModels(self.settings.bases_folder)
        stored = bases.info(spec["base"])
        if stored.sha256 != spec["base_sha256"]:
            raise NotFound(
                f"base {spec['base']}: expected the weights {spec['base_sha256'][:12]} the job was submitted for, got "
                f"{stored.sha256[:12]}; submit the job again"
            )
        base = bases.load(spec["base"], device=self.settings.device)
        dataset = open_dataset(spec["calibration"]["dataset"], self.settings)
        if dataset.digest != spec["dataset_digest"]:
            raise NotFound(
                f"data set {spec['calibration']['dataset']}: expected the one the job was submitted for, got another; "
                "submit the job again"
            )
        inputs = calibration_inputs(base, dataset, spec["calibration"]["n"])
        recipe = ensemble.Recipe.from_dict(spec["recipe"])
        rng = torch.Generator().manual_seed(spec["seed"])
        members, checkpoints = spec["members"], self.settings.data / "hardening"
        with _turn(checkpoints) if recipe.hardening is not None else nullcontext():
            preparation = prepare(
                base.network, inputs, members=members, recipe=recipe, rng=rng, checkpoints=checkpoints
            )
        return base, dataset, preparation


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Let one process at a time harden: the others then find the finished checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
