"""What is wrong with the official code, by the numbers of docs/mathematics.md, and which figures it touches.

Source: `Rose-STL-Lab/Gradient-Flow-Symmetry` at commit 4e45a0b, read as code; ordered by effect on the conclusions.
"""

from dataclasses import dataclass

CONVERGENCE = (3, 6, 7)
DISTRIBUTION = (4, 5)
ATTACKED = (11,)
ENSEMBLES = (10, 11)


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect.

    Attributes:
        number: as the account of the paper lists it.
        text: what the code does.
        figures: the figures it touches.
    """

    number: int
    text: str
    figures: tuple[int, ...]


TABLE: tuple[Defect, ...] = (
    Defect(1, "Clamp: data lie in [-.5, .5], the attack clamps to [0, 1]: each negative pixel moves to 0, up to .5, "
              "far beyond epsilon. A control that clamps without a gradient is missing.", ATTACKED),
    Defect(2, "The attack is applied twice: up to 2 epsilon, and the clamp again.", ATTACKED),
    Defect(3, "PGD runs at unset defaults: epsilon .3, step .01, random start; one iteration is mostly noise of "
              "± .3.", ATTACKED),
    Defect(4, "Attacks are crafted on the base only and members share all conv weights: nothing attacks the "
              "ensemble.", ATTACKED),
    Defect(5, "A softmax goes into the cross-entropy, in training and attack: the ten-class loss is confined to "
              "[1.461, 2.461].", ENSEMBLES),
    Defect(6, "k = h calibration inputs at scale 10: the median condition of g is 1.7e8, off the batch members are "
              "near random.", ENSEMBLES),
    Defect(7, "The base is trained anew, unseeded, for every cell of the grid; its accuracy ranges over .442 to .594 "
              "and curves are not paired.", ENSEMBLES),
    Defect(8, "Evaluation on train images 45800-46800, not on the test split; calibration on the last 3200, "
              "unshuffled.", ENSEMBLES),
    Defect(9, "Controls are unmatched: 'random' adds scale times U[0, 1], g⁻¹ has a condition of about 1e8, "
              "perm-interp one of at most 11, drawn anew in each forward pass.", ATTACKED),
    Defect(10, "The printed accuracy is the arg-max of the mean softmax, the plotted one a majority vote with ties to "
               "the smallest label.", ENSEMBLES),
    Defect(11, "Stored batches are summed on a second pass, the activation of figure 10 is not monotone below 0, and "
               "names of files and activations disagree.", ENSEMBLES),
    Defect(13, "compute_Q returns 2Q for linear, ReLU and tanh but Q for the sigmoid, with offsets of nh for tanh and "
               "sigmoid; a relative change of tanh is divided by a number inflated by that offset; |Q| is taken, and "
               "the baseline is the value after step 1.", (3, 4, 5, 6)),
    Defect(14, "U and V share one seed; the plotted loss is a norm, training minimises the mean square, the Hessian is "
               "that of the squared norm. The radial network ignores x and normalises across samples.", (3, 6, 7, 9)),
)  # fmt: skip


def defects_of(figure: int) -> tuple[str, ...]:
    """Return the defects that touch a figure, each with its number in front.

    Args:
        figure: number of the figure.
    """
    return tuple(f"{defect.number}. {defect.text}" for defect in TABLE if figure in defect.figures)
