"""Figure 5: the distribution of Q at initialisation over 1000 seeds, against its closed form.

As published: Q in the official code's normalisation (2Q, offsets of nh for tanh and sigmoid). Corrected: the factor ½
for every activation and no offset. Both tracks read the same draws.
"""

from ensemble.paper import distribution
from ensemble.paper.distribution import Settings
from ensemble.paper.values import Report

NUMBER = 5
TITLE = "Distribution of Q at initialisation, three activations"
ACTIVATIONS = ("ReLU", "tanh", "sigmoid")
OFFICIAL = Settings()
DEFAULT = OFFICIAL


def run(settings: Settings) -> Report:
    """Return figure 5 in both tracks.

    Args:
        settings: `OFFICIAL`, which takes seconds, or smaller.
    """
    return distribution.report(NUMBER, TITLE, ACTIVATIONS, settings)
