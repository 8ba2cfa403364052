"""What an ensemble answers, and how sure it is."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """An ensemble's answer.

    Attributes:
        probabilities: mean member probability `[batch classes]`.
        labels: its arg max, ties to the smallest label `[batch]`.
        member_labels: each member's own label `[member batch]`.
        disagreement: share of unordered member pairs with different labels, 0 for one member `[batch]`.
        entropy: entropy of `probabilities` in nats `[batch]`.
        mutual_information: that entropy minus the mean member entropy, in nats, at least 0 `[batch]`.
    """

    probabilities: Tensor
    labels: Tensor
    member_labels: Tensor
    disagreement: Tensor
    entropy: Tensor
    mutual_information: Tensor


def log_mean_probability(member_logits: Tensor) -> Tensor:
    """Return the log of the mean member probability `[batch classes]` of logits `[member batch classes]`.

    Valid logits: their softmax is the mean probability. Computed by log-sum-exp, so no probability underflows.
    """
    log_probabilities = member_logits.log_softmax(-1)
    return log_probabilities.logsumexp(0) - math.log(member_logits.shape[0])


def predict_from(member_logits: Tensor) -> Prediction:
    """Return the prediction of members with the given logits `[member batch classes]`."""
    size = member_logits.shape[0]
    log_mean = log_mean_probability(member_logits)
    probabilities = log_mean.exp()
    member_labels = member_logits.argmax(-1)
    entropy = _entropy(log_mean)
    mean_entropy = _entropy(member_logits.log_softmax(-1)).mean(0)
    different = (member_labels.unsqueeze(0) != member_labels.unsqueeze(1)).float().sum((0, 1))
    pairs = max(size * (size - 1), 1)
    return Prediction(
        probabilities=probabilities,
        labels=log_mean.argmax(-1),
        member_labels=member_labels,
        disagreement=different / pairs,
        entropy=entropy,
        mutual_information=(entropy - mean_entropy).clamp_min(0),
    )


def _entropy(log_probabilities: Tensor) -> Tensor:
    probabilities = log_probabilities.exp()
    # xlogy: a probability that underflows to 0 contributes 0, not NaN.
    surprise: Tensor = torch.special.xlogy(probabilities, probabilities)
    return -surprise.sum(-1)
