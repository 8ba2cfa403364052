"""The small PGD that search crafts with.

Seen to fail: descent in place of ascent; a projection of twice the radius.
"""

import torch
import torch.nn.functional as F
from torch.testing import assert_close

from ensemble.crafting import craft
from tests.ensemble.cases import generator, images, plain_cnn, randomised


def test_copies_stay_in_the_ball_and_raise_the_loss() -> None:
    """Every copy lies within the radius and the bounds, and most move the network away from its own answer."""
    network, x = randomised(plain_cnn()), images(200)
    copies = craft(network, x, radius=0.1, steps=5, bounds=(0.0, 1.0), rng=generator())
    assert float((copies - x).abs().max()) <= 0.1 + 1e-6
    assert float(copies.min()) >= 0.0
    assert float(copies.max()) <= 1.0
    with torch.no_grad():
        labels = network(x).argmax(1)
        before = F.cross_entropy(network(x), labels, reduction="none")
        after = F.cross_entropy(network(copies), labels, reduction="none")
    assert float((after > before).float().mean()) > 0.95
    again = craft(network, x, radius=0.1, steps=5, bounds=(0.0, 1.0), rng=generator())
    assert_close(copies, again, rtol=0, atol=0)
