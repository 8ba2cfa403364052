"""Figure 4: the distribution of Q at initialisation over 1000 seeds, against its closed form.

As published: Q in the official code's normalisation (2Q, offsets of nh for tanh and sigmoid). Corrected: the factor ½
for every activation and no offset. Both tracks read the same draws.
"""

from ensemble.paper import distribution
from ensemble.paper.defects import defects_of
from ensemble.paper.distribution import Settings
from ensemble.paper.values import Report

NUMBER = 4
TITLE = "Distribution of Q at initialisation, linear networks of three shapes"
ACTIVATIONS = ("linear",)
OFFICIAL = Settings()
DEFAULT = OFFICIAL


def run(settings: Settings) -> Report:
    """Return figure 4 in both tracks.

    Args:
        settings: `OFFICIAL`, which takes seconds, or smaller.
    """
    found = distribution.samples(settings, ACTIVATIONS)
    return Report(
        NUMBER,
        TITLE,
        f"{settings.seeds:,} seeds; official {OFFICIAL.seeds:,}",
        settings.seeds >= OFFICIAL.seeds,
        (distribution.published_track(settings, found), distribution.corrected_track(settings, found)),
        distribution.comparisons(found),
        defects_of(NUMBER),
        (
            "Which of figures 4 and 5 shows which panel is not known: linear networks are put into 4, the other "
            "activations into 5, each at all three shapes.",
            "Agreement: within four standard errors of the closed form. The closed forms are derived here.",
            "U and V are drawn independently in both tracks: were one seed shared, as in the training scripts, Q of "
            "the linear network with m = h = n would be 0 for every seed.",
        ),
    )
