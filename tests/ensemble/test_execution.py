"""Execution plans, aggregations and early stopping.

Seen to fail: a changed Linear multiplied by its transpose; grouped bias in channel-major order; a plan that ignores
its member slice; a stopping bound of remaining - 1; ties to the largest label; an allowance of one
label too many; the same threshold for every number of members; ratios not above the earlier ones counted.
"""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

import ensemble
from ensemble.aggregation import DETERMINISTIC, MajorityVote, MeanLogit, MeanProbability, aggregation
from ensemble.errors import InputError, UnknownName
from ensemble.execution import (
    PLANS,
    ChannelsLastPlan,
    GraphedPlan,
    MeasuredChoice,
    ReducedPrecisionPlan,
    fixed_plan,
    ideal_cost,
    plan_named,
    shared_share,
)
from ensemble.members import SymmetryEnsemble
from ensemble.stopping import ExactRule, MarginRule, fit_margin_rule, until_decided
from tests.ensemble.cases import ResidualNet, generator, images, mlp, plain_cnn, randomised

FAST = ensemble.Recipe(search_steps=2, crafting_radii=(0.05,), crafting_steps=1)


class _Sequence(nn.Module):
    """Conv1d layers, tokens, a LayerNorm and a product of two branches: what no table of channelwise nodes covers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 6, 3, padding=1, padding_mode="circular")
        self.conv2 = nn.Conv1d(6, 4, 3, stride=2)
        self.norm = nn.LayerNorm(4)
        self.up, self.down, self.gate = nn.Linear(4, 8), nn.Linear(8, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch 5]` of sequences `[batch 3 length]`."""
        x = self.conv2(torch.relu(self.conv(x))).transpose(1, 2)
        x = x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))
        x = x * torch.sigmoid(self.gate(x))
        return self.head(x.mean(1))


CASES = {
    "plain": (plain_cnn, lambda n: images(n)),
    "leaky": (lambda: plain_cnn(nn.LeakyReLU()), lambda n: images(n)),
    "residual": (ResidualNet, lambda n: images(n)),
    "mlp": (mlp, lambda n: torch.rand(n, 6, generator=generator())),
    "sequence": (_Sequence, lambda n: torch.rand(n, 3, 9, generator=generator())),
}


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> tuple[SymmetryEnsemble, Tensor]:
    """An ensemble of each kind of network, and inputs."""
    build, draw = CASES[request.param]
    network = randomised(build())
    return ensemble.generate(network, draw(200), members=4, recipe=FAST, rng=generator()), draw(7)


@pytest.mark.parametrize("name", sorted(PLANS))
def test_every_plan_equals_the_standalone_members(case: tuple[SymmetryEnsemble, Tensor], name: str) -> None:
    """Logits and input gradients of each plan are those of the standalone members, whole or sliced."""
    many, x = case
    probe = x.clone().requires_grad_()
    expected = torch.stack([many.member(index)(probe) for index in range(4)])
    (slow,) = torch.autograd.grad(expected.square().sum(), probe)
    found = many.member_logits(probe, plan=plan_named(name))
    assert_close(found, expected, rtol=1e-4, atol=1e-4)
    (fast,) = torch.autograd.grad(found.square().sum(), probe)
    assert_close(fast, slow, rtol=1e-3, atol=1e-3)
    part = many.member_logits(x, plan=plan_named(name), members=slice(1, 3))
    assert_close(part, expected[1:3].detach(), rtol=1e-4, atol=1e-4)
    single = many.member_logits(x[:1], plan=plan_named(name))
    assert_close(single, expected[:, :1].detach(), rtol=1e-4, atol=1e-4)


def test_shared_prefix_runs_once(case: tuple[SymmetryEnsemble, Tensor]) -> None:
    """No shared node depends on a changed layer, and every node a member runs does."""
    many, _ = case
    program = many.program
    changed = {layer.ref.layer for layer in many.layers}
    assert {str(node.target) for node in program.specific} >= changed
    assert not set(program.shared) & set(program.specific)
    prefix = program.traced.between(program.shared, [])
    assert not {str(node.target) for node in prefix} & changed


def test_choosing_a_plan() -> None:
    """The fixed plan depends on the device type; the measured one is the fastest by the clock and is asked once."""
    assert fixed_plan(torch.device("cpu")).name == "loop"
    assert fixed_plan(torch.device("cuda")).name == "grouped"
    with pytest.raises(UnknownName, match="grouped"):
        plan_named("gruped")
    many = ensemble.generate(randomised(mlp()), torch.rand(80, 6), members=2, recipe=FAST, rng=generator())
    ticks = iter(value for cost in (3.0, 1.0, 2.0) for run in range(3) for value in (100.0 * run, 100.0 * run + cost))
    choice = MeasuredChoice(repeats=2, clock=lambda: next(ticks))
    x = torch.rand(5, 6)
    assert choice.plan(many.program, x, slice(None)).name == list(PLANS)[1]
    assert choice.plan(many.program, torch.rand(7, 6), slice(None)).name == list(PLANS)[1]
    with pytest.raises(StopIteration):
        choice.plan(many.program, torch.rand(9, 6), slice(None))


@given(seed=st.integers(0, 2**31))
def test_aggregations_against_brute_force(seed: int) -> None:
    """Each aggregation is its definition, and ties go to the smallest label."""
    logits = torch.randn(3, 6, 4, generator=generator(seed), dtype=torch.float64) * 3
    mean = logits.softmax(-1).mean(0)
    assert_close(MeanProbability()(logits).exp(), mean)
    assert_close(MeanLogit()(logits), sum(logits) / 3)
    votes = MajorityVote()(logits)
    for row in range(6):
        counts = [sum(int(logits[m, row].argmax()) == c for m in range(3)) for c in range(4)]
        assert votes[row].tolist() == counts
        assert int(votes[row].argmax()) == counts.index(max(counts))


def test_random_member_answers_with_one_member() -> None:
    """Each row's answer is one member's own, all members come up, and the seed repeats it."""
    logits = torch.arange(4.0).reshape(4, 1, 1).expand(4, 200, 3)
    served = aggregation("random_member", rng=generator())(logits)
    assert_close(served[:, 0], served[:, 2])
    assert set(served[:, 0].tolist()) == {0.0, 1.0, 2.0, 3.0}
    assert_close(served, aggregation("random_member", rng=generator())(logits))
    with pytest.raises(InputError, match="Generator"):
        aggregation("random_member")
    with pytest.raises(UnknownName, match="vote"):
        aggregation("mean")
    assert [value.name for value in DETERMINISTIC] == ["prob", "logit", "vote"]


@pytest.mark.parametrize("rule", [ExactRule(MajorityVote()), ExactRule(MeanProbability())], ids=["vote", "prob"])
@given(seed=st.integers(0, 2**31), block=st.integers(1, 3), spread=st.sampled_from([0.3, 2.0, 8.0]))
def test_exact_stopping_gives_the_full_ensembles_labels(rule: ExactRule, seed: int, block: int, spread: float) -> None:
    """Whatever members say, stopping early changes no label, and easy rows need fewer members."""
    logits = torch.randn(7, 40, 3, generator=generator(seed)) * spread + 4 * torch.eye(3)[torch.arange(40) % 3]
    rows = torch.arange(40)
    decision = until_decided(rows, size=7, block=block, rule=rule, run=lambda x, members: logits[members][:, x])
    assert_close(decision.labels, rule.aggregation(logits).argmax(-1))
    assert int(decision.members_used.max()) <= 7


def test_vote_stops_at_a_majority_and_never_before() -> None:
    """Three votes decide five members; exhaustive over all vote patterns of five members and three labels."""
    rule = ExactRule(MajorityVote())
    patterns = torch.tensor(list(product(range(3), repeat=5)))
    logits = torch.nn.functional.one_hot(patterns.T, 3).float()
    rows = torch.arange(len(patterns))
    decision = until_decided(rows, size=5, block=1, rule=rule, run=lambda x, members: logits[members][:, x])
    assert_close(decision.labels, MajorityVote()(logits).argmax(-1))
    unanimous = (patterns == patterns[:, :1]).all(1)
    assert set(decision.members_used[unanimous].tolist()) == {3}
    assert int(decision.members_used.min()) == 3


def test_unbounded_scores_are_refused() -> None:
    """Mean logits admit no bound, so early stopping refuses them."""
    with pytest.raises(InputError, match="no bound exists"):
        ExactRule(MeanLogit())


def test_margin_rule_keeps_its_stated_disagreement() -> None:
    """Fitted on one sample, the rule uses fewer members than the exact one and errs no more than stated on another."""
    rng = generator()

    def draw(rows: int) -> Tensor:
        centre = 3 * torch.eye(4)[torch.randint(4, (rows,), generator=rng)]
        return centre + torch.randn(16, rows, 4, generator=rng)

    exact = ExactRule(MeanProbability())
    rule = fit_margin_rule(exact, draw(20000), disagreement=0.01)
    logits = draw(20000)
    rows = torch.arange(20000)

    def run(x: Tensor, members: slice) -> Tensor:
        return logits[members][:, x]

    early = until_decided(rows, size=16, block=1, rule=rule, run=run)
    full = until_decided(rows, size=16, block=1, rule=exact, run=run)
    wrong = float((early.labels != exact.aggregation(logits).argmax(-1)).float().mean())
    assert wrong <= 0.013
    assert float(early.members_used.float().mean()) < 0.6 * float(full.members_used.float().mean())
    with pytest.raises(InputError, match="at least 999 inputs"):
        fit_margin_rule(exact, draw(998), disagreement=1e-3)


def test_margin_rule_is_the_shortest_that_its_fit_allows() -> None:
    """On its own rows it changes exactly as many labels as allowed, and thresholds a little lower change more."""
    rng = generator()
    logits = 2 * torch.eye(4)[torch.randint(4, (999,), generator=rng)] + torch.randn(8, 999, 4, generator=rng)
    exact = ExactRule(MeanProbability())
    rule = fit_margin_rule(exact, logits, disagreement=0.01)
    labels = exact.aggregation(logits).argmax(-1)

    def changed(tried: MarginRule) -> int:
        decision = until_decided(
            torch.arange(999), size=8, block=1, rule=tried, run=lambda x, members: logits[members][:, x]
        )
        return int((decision.labels != labels).sum())

    lower = replace(rule, thresholds=tuple(0.97 * threshold for threshold in rule.thresholds))
    assert changed(rule) == 9
    assert changed(lower) > 9
    assert rule.thresholds[3] / rule.thresholds[0] == pytest.approx(math.sqrt((1 / 4 - 1 / 8) / (1 - 1 / 8)))
    assert fit_margin_rule(exact, logits[:1], disagreement=0.01).thresholds == (0.0,)
    # Right after one member by .8, wrong after two by only .1, right in the end: any threshold stops it right or late.
    turned = torch.tensor([[[0.9, 0.1]], [[0.0, 1.0]], [[1.0, 0.0]]]).log()
    assert fit_margin_rule(exact, turned, disagreement=0.5).thresholds == (0.0, 0.0, 0.0)
    assert fit_margin_rule(exact, turned[[1, 0, 2]], disagreement=0.5).thresholds[0] == pytest.approx(1.0)


def test_margin_rule_holds_on_average_over_small_fits() -> None:
    """Fitted many times on few rows, the mean share of changed labels on new rows stays at the stated one."""
    rng, exact = generator(), ExactRule(MajorityVote())

    def draw(rows: int) -> Tensor:
        return torch.eye(4)[torch.randint(4, (rows,), generator=rng)] + torch.randn(6, rows, 4, generator=rng)

    shares = []
    for _ in range(60):
        rule, logits = fit_margin_rule(exact, draw(99), disagreement=0.04), draw(400)
        rows = torch.arange(400)
        decision = until_decided(rows, size=6, block=1, rule=rule, run=lambda x, m, of=logits: of[m][:, x])
        shares.append(float((decision.labels != exact.aggregation(logits).argmax(-1)).float().mean()))
    assert sum(shares) / 60 <= 0.045


@pytest.mark.parametrize("rule", [ExactRule(MajorityVote()), ExactRule(MeanProbability())], ids=["vote", "prob"])
def test_an_ensemble_decides_early(case: tuple[SymmetryEnsemble, Tensor], rule: ExactRule) -> None:
    """Early stopping on a real ensemble gives its labels, block by block."""
    many, x = case
    expected = rule.aggregation(many.member_logits(x)).argmax(-1)
    for block in (1, 3):
        decision = many.until_decided(x, rule, block=block)
        assert_close(decision.labels, expected)
        assert int(decision.members_used.min()) >= 1
        assert int(decision.members_used.max()) <= 4
    with pytest.raises(InputError, match="block"):
        many.until_decided(x, rule, block=0)


def test_shared_share_by_hand() -> None:
    """Tau counts the multiply-accumulates of layers before the first changed one, and the ideal cost follows."""
    network = randomised(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(8), nn.Flatten(), nn.Linear(4, 6), nn.ReLU(),
                      nn.Linear(6, 5))
    )  # fmt: skip
    many = ensemble.generate(network, images(60), members=3, recipe=FAST, rng=generator())
    conv, head = 8 * 8 * 4 * 9, 4 * 6 + 6 * 5
    assert shared_share(many.program) == pytest.approx(conv / (conv + head))
    assert ideal_cost(many.program, 3) == pytest.approx((conv + 3 * head) / (conv + head))


@pytest.mark.parametrize("wrap", [ReducedPrecisionPlan, ChannelsLastPlan])
def test_cheaper_arithmetic_stays_close(case: tuple[SymmetryEnsemble, Tensor], wrap: type) -> None:
    """bfloat16 and channels-last runs answer in float32, near the exact logits."""
    many, x = case
    exact = many.member_logits(x)
    found = many.member_logits(x, plan=wrap(plan_named("loop")))
    assert found.dtype == torch.float32
    assert float((found - exact).abs().max()) < 0.1 * float(exact.abs().max())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: CUDA graphs exist nowhere else")
@pytest.mark.parametrize("name", sorted(PLANS))
def test_graphs_replay_the_plan(name: str) -> None:
    """A captured plan gives the plan's logits for new inputs, shapes and member slices."""
    many = ensemble.generate(randomised(plain_cnn()), images(150), members=3, recipe=FAST, rng=generator()).cuda()
    plan = GraphedPlan(plan_named(name))
    for rows in (1, 7, 1, 100):
        x = images(rows, seed=rows).cuda()
        assert_close(many.member_logits(x, plan=plan), many.member_logits(x), rtol=1e-3, atol=1e-3)


def test_graphs_refuse_a_cpu(case: tuple[SymmetryEnsemble, Tensor]) -> None:
    """CUDA graphs on a CPU are refused with a remedy."""
    many, x = case
    with pytest.raises(InputError, match="CUDA device"):
        many.member_logits(x, plan=GraphedPlan(plan_named("loop")))
