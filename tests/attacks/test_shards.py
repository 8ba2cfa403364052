"""Shards are deterministic, idempotent and independent of order; merging them is pure.

Seen to fail with: no `manual_seed` in `_settled`; no `fork_rng`; the thread count not restored; the root seed left out
of the crafting key; the judges' digests put into the crafting key; `merge` reading results in the order of the mapping;
the caller's `no_grad` left in force.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import ensemble
from attacks import EvaluationReport, ThreatModel, evaluate
from attacks.evaluation import Evaluation, crafted_elsewhere
from attacks.shards import Shard, merge, plan, run_shard
from attacks.summary import partial_summary
from ensemble.digests import tensor_digest
from ensemble.errors import InputError, LevelsetError
from tests.attacks.conftest import Points

Results = dict[str, dict[str, Any]]


def small(network: nn.Module, points: Points, **changes: Any) -> Evaluation:
    """An evaluation of a single network on 20 points, two blocks."""
    fields: dict[str, Any] = {
        "target": network,
        "base": network,
        "inputs": points.inputs[:20],
        "labels": points.labels[:20],
        "threat": ThreatModel("linf", (0.1,)),
        "seed": 1,
        "block": 12,
    }
    return Evaluation(**(fields | changes))


def _timeless(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name != "seconds"}


def test_the_plan_covers_every_point_once_per_attack(evaluation: Evaluation) -> None:
    """Blocks tile the points for clean accuracy, examples made elsewhere and each cascade; keys are all different."""
    shards = plan(evaluation)
    made = [("transfer", row.id, "") for row in evaluation.runnable(0) if crafted_elsewhere(row)]
    cascades = [("cascade", "cascade", judge) for judge in evaluation.jury.attacked]
    for work in (("clean", "clean", ""), *made, *cascades):
        own = [shard for shard in shards if (shard.work, shard.attack, shard.judge) == work]
        assert [index for shard in own for index in range(shard.start, shard.stop)] == list(range(100))
    assert len({shard.key for shard in shards}) == len(shards)
    assert [shard.samples for shard in shards if shard.attack == "clean"] == [40, 40, 20]


def test_a_plan_is_a_function_of_the_evaluation(network: nn.Module, held_out: Points) -> None:
    """Built twice, keys and seeds agree; another seed, radius, point or network changes every key of an attack."""
    first = plan(small(network, held_out))
    assert plan(small(network, held_out)) == first
    other_points = Points(held_out.inputs.roll(1, 0), held_out.labels.roll(1, 0))
    other_network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    for changed in (
        small(network, held_out, seed=2),
        small(network, held_out, threat=ThreatModel("linf", (0.2,))),
        small(network, other_points),
        small(other_network, held_out),
    ):
        assert not {s.key for s in first if s.stage == "white_box"} & {s.key for s in plan(changed)}


def test_crafting_seeds_do_not_depend_on_the_target(network: nn.Module, held_out: Points) -> None:
    """No-query examples are the same for every target: only keys differ, not seeds, and the examples' digests agree."""
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    found = []
    for target in (network, other):
        evaluation = small(target, held_out, base=network)
        shard = next(shard for shard in plan(evaluation) if shard.attack == "mi-di-10@stolen_base")
        found.append((shard, run_shard(shard, evaluation)))
    (a, first), (b, second) = found
    assert a.seed == b.seed
    assert a.key != b.key
    (one,), (two,) = first["runs"], second["runs"]
    assert one["examples"] == two["examples"]
    assert one["held"]["base"] == two["held"]["base"]


def test_a_shard_survives_its_json(evaluation: Evaluation) -> None:
    """What a queue stores is the whole shard."""
    for shard in plan(evaluation):
        assert Shard.from_dict(json.loads(json.dumps(shard.to_dict()))) == shard


def test_a_shard_run_again_gives_the_same_bytes(evaluation: Evaluation, results: Results) -> None:
    """Every stage is idempotent, whatever ran before it; only the seconds differ."""
    stages: dict[str, Shard] = {}
    for shard in plan(evaluation):
        stages[shard.stage] = shard
    assert set(stages) == {
        "clean",
        "probes",
        "prepare",
        "noise",
        "fgsm",
        "stolen_base",
        "fresh_members",
        "white_box",
    }
    for shard in reversed(stages.values()):
        again = run_shard(shard, evaluation)
        assert json.dumps(_timeless(again), sort_keys=True) == json.dumps(_timeless(results[shard.key]), sort_keys=True)
        assert json.loads(json.dumps(again)) == again


def test_a_shard_leaves_no_trace_in_the_process(network: nn.Module, held_out: Points) -> None:
    """The global generator and the thread count are as before."""
    evaluation = small(network, held_out, threads=2)
    shard = next(shard for shard in plan(evaluation) if shard.stage == "noise")
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    run_shard(shard, evaluation)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_noise_draws_differ_and_depend_on_the_seed(network: nn.Module, held_out: Points) -> None:
    """Ten draws are ten different sets of examples, and another root seed gives ten others."""
    digests = []
    for seed in (1, 2):
        evaluation = small(network, held_out, seed=seed)
        shard = next(shard for shard in plan(evaluation) if shard.stage == "noise")
        (run,) = run_shard(shard, evaluation)["runs"]
        digests += [record["digest"] for record in run["examples"]]
    assert len(set(digests)) == 20


def test_merging_does_not_depend_on_the_order(
    evaluation: Evaluation, results: Results, report: EvaluationReport
) -> None:
    """Results in reverse, with other seconds, through JSON, and with a stranger among them: the same digest."""
    shuffled = {key: json.loads(json.dumps(results[key] | {"seconds": 99.0})) for key in reversed(results)}
    merged = merge(evaluation, shuffled | {"stranger": {}})
    assert merged.digest == report.digest == merged.report_digest


def test_a_killed_evaluation_ends_in_the_same_report(
    members: nn.Module, network: nn.Module, held_out: Points, evaluation: Evaluation, results: Results
) -> None:
    """Half of the shards run in a fresh context give the same report as the ones of one go."""
    fresh = dataclasses.replace(
        evaluation, **{name: getattr(evaluation, name) for name in ("target", "base", "inputs", "labels")}
    )
    shards = plan(fresh)
    redone = {shard.key: run_shard(shard, fresh) for shard in shards[len(shards) // 2 :]}
    assert merge(fresh, results | redone).digest == merge(evaluation, results).digest


def test_missing_and_misplaced_results_are_refused(evaluation: Evaluation, results: Results) -> None:
    """An unfinished evaluation has no report, and a result under another key is not believed."""
    first, second, *_ = results
    with pytest.raises(InputError, match="none for 1"):
        merge(evaluation, {key: value for key, value in results.items() if key != first})
    with pytest.raises(InputError, match="own shard's key"):
        merge(evaluation, results | {first: results[second]})


def test_a_shard_of_another_evaluation_is_refused(network: nn.Module, held_out: Points) -> None:
    """The key is recomputed, not trusted."""
    shard = plan(small(network, held_out))[0]
    with pytest.raises(InputError, match="another key"):
        run_shard(shard, small(network, held_out, seed=2))


def test_a_summary_of_unfinished_work_counts_what_is_there(evaluation: Evaluation, results: Results) -> None:
    """Clean accuracy so far, over the points seen so far; nothing at all for nothing."""
    clean = {key: value for key, value in results.items() if value["attack"] == "clean" and value["start"] < 80}
    summary = partial_summary(clean)
    assert summary["shards_done"] == 2
    assert summary["held"]["clean"]["ensemble"]["n"] == 80
    answers = evaluation.jury.models["ensemble"].answers(evaluation.inputs[:80])
    assert summary["held"]["clean"]["ensemble"]["k"] == int((answers == evaluation.labels[:80]).sum())
    assert partial_summary({}) == {"shards_done": 0, "seconds": 0.0, "held": {}}


def test_kept_examples_can_be_judged_again(network: nn.Module, held_out: Points, tmp_path: Path) -> None:
    """The files hold what was judged: digest and verdict agree, and the folder does not enter the key."""
    kept = small(network, held_out, examples_folder=tmp_path / "examples")
    shard = next(shard for shard in plan(kept) if shard.attack == "mi-di-10@stolen_base")
    (run,) = run_shard(shard, kept)["runs"]
    (record,) = run["examples"]
    examples = load_file(tmp_path / "examples" / record["path_relative"])["examples"]
    assert tensor_digest(examples) == record["digest"]
    right = kept.jury.models["network"].answers(examples[0]) == kept.labels[shard.start : shard.stop]
    assert run["held"]["network"] == ["".join(str(int(flag)) for flag in right)]
    assert [path.suffix for path in (tmp_path / "examples").iterdir()] == [".safetensors"]
    assert shard in plan(small(network, held_out))


def test_evaluate_is_a_function_of_its_generator(network: nn.Module, held_out: Points) -> None:
    """The same seed gives the same digest, the generator moves on, and progress counts every shard."""
    seen: list[ensemble.Progress] = []
    digests = []
    rng = torch.Generator()
    for seed in (0, 0, 1):
        report = evaluate(
            network,
            base=network,
            inputs=held_out.inputs[:20],
            labels=held_out.labels[:20],
            threat=ThreatModel("linf", (0.1,)),
            rng=rng.manual_seed(seed),
            progress=seen.append,
        )
        digests.append(report.digest)
        state = rng.get_state()
    assert digests[0] == digests[1] != digests[2]
    assert not torch.equal(state, torch.Generator().manual_seed(1).get_state())
    assert [step.done for step in seen[: seen[0].total]] == list(range(1, seen[0].total + 1))


def test_networks_are_neither_changed_nor_moved(network: nn.Module, members: nn.Module, results: Results) -> None:
    """After all shards the weights have the digests they had, and nothing requires a gradient or trains."""
    seen = {judge: {result["digests"][judge] for result in results.values()} for judge in ("base", "ensemble")}
    assert seen == {"base": {ensemble.network_digest(network)}, "ensemble": {ensemble.network_digest(members)}}
    assert not any(module.training for module in members.modules())


class _Watching(nn.Module):
    """A network that notes under which arithmetic it runs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen: set[tuple[str, bool]] = set()
        self.train(False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the network's answer."""
        self.seen.add((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        logits: torch.Tensor = self.network(inputs)
        return logits


def test_the_caller_s_arithmetic_does_not_reach_a_shard(network: nn.Module, held_out: Points) -> None:
    """Without gradients and with coarse products outside, a shard gives the same bytes in full float32."""
    watching = _Watching(network)
    evaluation = small(watching, held_out, base=network)
    shard = next(shard for shard in plan(evaluation) if shard.work == "cascade" and shard.judge == "network")
    expected = _timeless(run_shard(shard, evaluation))
    watching.seen.clear()
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.inference_mode():
            assert _timeless(run_shard(shard, evaluation)) == expected
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert watching.seen == {("highest", False)}


class _BackwardOnce(torch.autograd.Function):
    """A step whose backward pass fails for more than two points: not at the gate, but in a block."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor) -> torch.Tensor:
        """Return the inputs."""
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Fail for a block."""
        if len(gradients[0]) > 2:
            raise RuntimeError("broken on the way back")
        return gradients[0]


def test_a_backward_pass_that_fails_midway_is_named(network: nn.Module, held_out: Points) -> None:
    """The shard's title, the error itself, and what to do."""

    class Broken(_Watching):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            passed: torch.Tensor = _BackwardOnce.apply(inputs)  # type: ignore[no-untyped-call]
            return super().forward(passed)

    evaluation = small(Broken(network), held_out, base=network)
    shard = next(shard for shard in plan(evaluation) if shard.work == "cascade" and shard.judge == "network")
    with pytest.raises(LevelsetError, match=r"white box on network, .*got RuntimeError: broken on the way back; mend"):
        run_shard(shard, evaluation)
