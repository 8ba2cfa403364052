"""Every check of the standard: its id, the first suite that runs it, its rule, and what to do when it does not pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    Attributes:
        id: A1 to F7.
        suite: q (quick), s (standard) or t (thorough): the first suite that requires it.
        text: the rule.
        remedy: what to do about a warning, a failure, or a check that was not run.
        mode: the only serving mode it concerns; empty for all.
        members: whether it needs a target with members.
    """

    id: str
    suite: str
    text: str
    remedy: str
    mode: str = ""
    members: bool = False

    @property
    def required_by_standard(self) -> bool:
        """Whether a report without it is incomplete."""
        return self.suite in ("q", "s")


#: The suites in their order, by the letter that the table uses.
SUITE_OF_LETTER: Mapping[str, str] = MappingProxyType({"q": "quick", "s": "standard", "t": "thorough"})


def belongs(rule: Rule, suite: str) -> bool:
    """Return whether a suite runs a check: its own and those of smaller suites; an unknown suite runs all.

    Args:
        rule: of the table.
        suite: the suite's name.
    """
    order = list(SUITE_OF_LETTER.values())
    return suite not in order or order.index(SUITE_OF_LETTER[rule.suite]) <= order.index(suite)


_RANDOM = "random_member"
_STRONGER = "run a larger suite, or attacks of more steps and restarts"
_MASKED = "attack through a smooth stand-in, with a margin loss, by transfer and by queries, and believe the strongest"

TABLE: tuple[Rule, ...] = (
    Rule(
        "A1", "q", "eval mode; weight and buffer digests equal before and after",
        "call .eval() and keep anything from writing to the network while it is attacked",
    ),
    Rule(
        "A2", "q", "losses receive logits or log-probabilities; no double softmax",
        "return the values before the softmax, or their logarithm",
    ),
    Rule(
        "A3", "q", "norms and box recomputed in float32 from the examples: at most epsilon + 1e-6, no NaN",
        "project onto the ball and clip to the data's own box as the last step of the attack",
    ),
    Rule(
        "A4", "q", "a fresh forward through the serving path gives the in-attack verdict",
        "attack the very function that is served: preprocessing, rounding and tie rule included",
    ),
    Rule(
        "A5", "q", "five forwards give the same labels, log-probability difference at most 1e-4",
        "take the randomness out, or serve it as random_member, whose expectation is exact",
    ),
    Rule(
        "A6", "q", "the same labels at batch 1 and batch B",
        "look for batch statistics, or for kernels that differ with the batch size, and fix the block size",
    ),
    Rule(
        "A7", "q", "clean accuracy of base, target and every member on the same points",
        "generate members that agree with the base more closely (a smaller scale), or drop the weak ones",
    ),
    Rule(
        "A8", "q", "test points disjoint from training and calibration points, by id and by content",
        "evaluate points that nothing was fitted to, and pass their ids and those of the points used",
    ),
    Rule(
        "A9", "q", "verdicts in float32; flips against the crafting precision counted",
        "craft in float32, or count a flipped point as lost",
    ),
    Rule(
        "B1", "q", "the iterative attack is at least as strong as FGSM",
        "look for masked gradients or a wrong step size; take more steps",
    ),
    Rule(
        "B2", "q", "raw accuracy does not rise with epsilon (single-step attacks exempt)",
        "look for masked gradients or a step size that does not grow with epsilon; take more steps",
    ),
    Rule("B3", "s", "PGD-100 at the full range leaves nothing", _MASKED),
    Rule("B4", "s", "doubled steps change less than 0.5 points, and the loss has stopped falling", _STRONGER),
    Rule("B5", "s", "five restarts change less than 0.5 points", _STRONGER),
    Rule("B6", "q", "no vanishing gradients under cross-entropy and margin loss", _MASKED),
    Rule(
        "B7", "s", "cross-entropy, DLR and scale-normalised losses agree",
        "use losses that do not change with the scale of the logits (DLR, margin)",
    ),
    Rule(
        "B8", "q", "silent successes: fooled at some iterate, not at the last; the best iterate is returned",
        "return the best iterate, never the last",
    ),
    Rule("B9", "t", "loss-landscape noise: the loss changes little in a small ball", _MASKED),
    Rule(
        "B10", "s", "directional derivatives agree with finite differences",
        "mend the backward pass: what autograd returns is not the derivative of what is served",
    ),
    Rule("B11", "q", "leak rate: held by white-box gradients, lost to a weaker attack", _MASKED),
    Rule("B12", "s", "query attacks are not better than gradients", _MASKED),
    Rule("B13", "q", "the best of ten noise draws is weaker than every gradient attack", _MASKED),
    Rule(
        "B14", "q", "scrambled control and chance line; each claimed gain exceeds both",
        "do not read a difference at or below chance as a gain; scramble more layers if the control still answers",
    ),
    Rule(
        "B15", "q", "positive controls: the base falls, a gradient-killer is noticed",
        "do not trust the alarms of this report: report the fault with the network that silenced them",
    ),
    Rule("B16", "s", "three step sizes agree", _STRONGER),
    Rule(
        "C1", "q", "the headline is the per-example worst case over all attacks and models",
        "take the minimum point by point, never the minimum of means",
    ),
    Rule(
        "C2", "q", "Wilson interval on each proportion, paired test on each comparison",
        "judge every network on the same points",
    ),
    Rule(
        "C3", "q", "minimum detectable gain printed; the word gain refused below it",
        "evaluate more points before speaking of a gain",
    ),
    Rule(
        "C4", "s", "at least five group seeds, the minimum quoted",
        "generate four more ensembles with other seeds and pass them as other draws",
    ),
    Rule(
        "C5", "q", "number of configurations tried; tuned on validation points only",
        "keep a log of every configuration tried, and tune on points that are not evaluated",
    ),
    Rule(
        "C6", "q", "conditional and unconditional rates both printed, named",
        "evaluate at least thirty points that the target answers right",
    ),
    Rule(
        "D1", "q", "random_member with the coin fixed falls on an undefended base",
        "fix the coin and attack again: an attack that fails there proves nothing about the coin",
        _RANDOM, members=True,
    ),
    Rule("D2", "q", "gradient of the exact expectation", "average over every member, not over draws", _RANDOM, True),
    Rule(
        "D3", "q", "verdict by the exact expected accuracy",
        "judge every example with every member, or at least sixteen draws", _RANDOM, members=True,
    ),
    Rule(
        "D4", "q", "greedy per-member attack",
        "run the attack that fools member after member: expectation attacks alone miss it", _RANDOM, members=True,
    ),
    Rule(
        "D5", "s", "averaged ensemble attacked, scored on random serving",
        "attack the averaged ensemble too and score its examples on random serving", _RANDOM, members=True,
    ),
    Rule(
        "D6", "q", "retry curve", "judge the examples with every member: retries follow from it", _RANDOM, True,
    ),
    Rule(
        "E1", "q", "null test: an exact-symmetry ensemble scores what the base scores",
        "use no number of this report: the evaluator tells apart two networks that are the same function",
    ),
    Rule(
        "E2", "s", "disagreement on held-out data, noise and adversarial points",
        "read the members' disagreement as a sign of inputs off the data, not of protection", members=True,
    ),
    Rule(
        "E3", "s", "member-by-member transfer matrix",
        "evaluate more points: a cell needs thirty on which the source is fooled", members=True,
    ),
    Rule(
        "E4", "s", "pairwise input-gradient cosine and cross-adversarial loss",
        "members whose gradients are parallel fall together: act on more sites, or with a larger scale", members=True,
    ),
    Rule(
        "E5", "q", "the target beats weight noise of equal norm and of equal accuracy",
        "claim nothing for the symmetry: noise of the same size does as well; pass validation points to fit it",
        members=True,
    ),
    Rule(
        "E6", "s", "all three deterministic modes attacked",
        "attack through the other modes too: a vote has no gradient of its own", members=True,
    ),
    Rule(
        "E7", "q", "stolen_base, fresh_members and lgv_surrogate run",
        "pass the attacker's own sample, from which its members and weights are made",
    ),
    Rule(
        "E8", "t", "gain and cost against the number of members",
        "say that the number of members is not yet large enough to tell what it is worth", members=True,
    ),
    Rule("E9", "t", "drop any one member", "look at the member that carries the result alone", members=True),
    Rule("F1", "q", "parameters, seeds, versions, device, digests", "evaluate again with this version"),
    Rule("F2", "q", "forwards, backwards and seconds per attack", "attack through a wrapped model, which counts"),
    Rule("F3", "q", "threat sentences", "add the sentence of the threat model"),
    Rule(
        "F4", "q", "examples saved for re-scoring", "name a folder for the examples, so others can score them again",
    ),
    Rule("F5", "q", "attacks not run, and why", "list what the suite leaves out"),
    Rule(
        "F6", "q", "untargeted and targeted", "run the suite standard, whose APGD-DLR-T aims at single classes",
    ),
    Rule(
        "F7", "q", "the attack that broke the nearest prior defence",
        "run the suite standard, whose re-weighted attack is of the kind that broke diversity-trained ensembles",
    ),
)  # fmt: skip
