"""Every check of the standard: its id, the first suite that runs it (q, s, t), its rule, and what it waits for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    Attributes:
        id: A1 to F7.
        suite: q (quick), s (standard) or t (thorough): the first suite that requires it.
        text: the rule.
        needs: why it is NOT-RUN where no code for it exists yet.
        mode: the only serving mode it concerns; empty for all.
    """

    id: str
    suite: str
    text: str
    needs: str = ""
    mode: str = ""

    @property
    def required_by_standard(self) -> bool:
        """Whether a report without it is incomplete."""
        return self.suite in ("q", "s")


_RANDOM = "random_member"
_NOT_SERVED = "this version does not serve random_member"
_WHITE_BOX_VARIANTS = "needs further white-box runs, which this suite does not have"

TABLE: tuple[Rule, ...] = (
    Rule("A1", "q", "eval mode; weight and buffer digests equal before and after"),
    Rule("A2", "q", "losses receive logits or log-probabilities; no double softmax"),
    Rule("A3", "q", "norms and box recomputed in float32 from the examples: at most epsilon + 1e-6, no NaN"),
    Rule("A4", "q", "a fresh forward through the serving path gives the in-attack verdict"),
    Rule("A5", "q", "five forwards give the same labels, log-probability difference at most 1e-4"),
    Rule("A6", "q", "the same labels at batch 1 and batch B"),
    Rule("A7", "q", "clean accuracy of base, target and every member on the same points"),
    Rule("A8", "q", "test points disjoint from training and calibration points, by id and by content"),
    Rule("A9", "q", "verdicts in float32; flips against the crafting precision counted"),
    Rule("B1", "q", "the iterative attack is at least as strong as FGSM"),
    Rule("B2", "q", "raw accuracy does not rise with epsilon (single-step attacks exempt)"),
    Rule("B3", "s", "PGD-100 at the full range leaves nothing", _WHITE_BOX_VARIANTS),
    Rule("B4", "s", "doubled steps change less than 0.5 points", _WHITE_BOX_VARIANTS),
    Rule("B5", "s", "five restarts change less than 0.5 points", _WHITE_BOX_VARIANTS),
    Rule(
        "B6", "q", "no vanishing gradients under cross-entropy and margin loss", "gradient norms are not collected yet"
    ),
    Rule("B7", "s", "cross-entropy, DLR and scale-normalised losses agree", _WHITE_BOX_VARIANTS),
    Rule("B8", "q", "silent successes: fooled at some iterate, not at the last", "iterates are not collected yet"),
    Rule("B9", "t", "loss-landscape noise", "belongs to the thorough suite"),
    Rule("B10", "s", "directional derivatives agree with finite differences", "needs the standard suite's probes"),
    Rule("B11", "q", "leak rate: held by white-box gradients, lost to a weaker attack"),
    Rule("B12", "s", "query attacks are not better than gradients", "no query attack in this suite"),
    Rule("B13", "q", "the best of ten noise draws is weaker than every gradient attack"),
    Rule("B14", "q", "scrambled control and chance line; each claimed gain exceeds both"),
    Rule(
        "B15",
        "q",
        "positive controls: the base falls, a gradient-killer is noticed",
        "no gradient-killer is shipped yet",
    ),
    Rule("B16", "s", "three step sizes agree", _WHITE_BOX_VARIANTS),
    Rule("C1", "q", "the headline is the per-example worst case over all attacks and models"),
    Rule("C2", "q", "Wilson interval on each proportion, paired test on each comparison"),
    Rule("C3", "q", "minimum detectable gain printed; the word gain refused below it"),
    Rule("C4", "s", "at least five group seeds, the minimum quoted", "one evaluation judges one group draw"),
    Rule("C5", "q", "number of configurations tried; tuned on validation points only", "the evaluator is not told"),
    Rule("C6", "q", "conditional and unconditional rates both printed, named"),
    Rule("D1", "q", "random_member with the coin fixed falls on an undefended base", _NOT_SERVED, _RANDOM),
    Rule("D2", "q", "gradient of the exact expectation", _NOT_SERVED, _RANDOM),
    Rule("D3", "q", "verdict by the exact expected accuracy", _NOT_SERVED, _RANDOM),
    Rule("D4", "q", "greedy per-member attack", _NOT_SERVED, _RANDOM),
    Rule("D5", "s", "averaged ensemble attacked, scored on random serving", _NOT_SERVED, _RANDOM),
    Rule("D6", "q", "retry curve", _NOT_SERVED, _RANDOM),
    Rule("E1", "q", "null test: an exact-symmetry ensemble scores what the base scores"),
    Rule("E2", "s", "disagreement on held-out data, noise and adversarial points", "belongs to the standard suite"),
    Rule("E3", "s", "member-by-member transfer matrix", "belongs to the standard suite"),
    Rule("E4", "s", "pairwise input-gradient cosine", "belongs to the standard suite"),
    Rule("E5", "q", "the target beats weight noise"),
    Rule("E6", "s", "all three deterministic modes attacked", "only the mode prob is attacked"),
    Rule("E7", "q", "stolen_base, fresh_members and lgv_surrogate run", "fresh_members is not part of this suite yet"),
    Rule("E8", "t", "gain and cost against the number of members", "belongs to the thorough suite"),
    Rule("E9", "t", "drop any one member", "belongs to the thorough suite"),
    Rule("F1", "q", "parameters, seeds, versions, device, digests"),
    Rule("F2", "q", "forwards, backwards and seconds per attack"),
    Rule("F3", "q", "threat sentences"),
    Rule("F4", "q", "examples saved for re-scoring"),
    Rule("F5", "q", "attacks not run, and why"),
    Rule("F6", "q", "untargeted and targeted", "no targeted attack in this suite yet"),
    Rule("F7", "q", "the attack that broke the nearest prior defence", "no such attack is implemented yet"),
)
