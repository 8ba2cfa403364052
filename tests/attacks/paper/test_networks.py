"""The stacked networks of figures 10 and 11 against torch.nn modules and their own optimiser, one at a time.

Seen to fail when: pooling is left out; the features of two networks are exchanged; the loss is divided by the number of
networks; `softmax_twice` leaves the softmax out; the order of images ignores the seed.
"""

import pytest
import torch
from torch import Tensor, nn

from attacks.paper.data import Images, cut
from attacks.paper.networks import BATCH, Networks, cross_entropy, fresh, leaky, softmax_twice, square_like, train
from ensemble.errors import InputError


def module_of(networks: Networks, i: int) -> nn.Sequential:
    """Return network i as ordinary layers."""
    filters, channels = networks.kernel.shape[1:3]
    conv = nn.Conv2d(channels, filters, 3, padding=1)
    lower, upper = nn.Linear(networks.V.shape[2], 16), nn.Linear(16, 10)
    for layer, weight, bias in ((conv, 0, 1), (lower, 2, 3), (upper, 4, 5)):
        layer.weight.data.copy_(networks.weights[weight][i])
        layer.bias.data.copy_(networks.weights[bias][i])
    sigma = nn.LeakyReLU(0.1)
    return nn.Sequential(conv, nn.LeakyReLU(), nn.MaxPool2d(2), nn.Flatten(), lower, sigma, upper)


def images(n: int = 96) -> Images:
    """Return random images of 8x8 pixels with three channels."""
    rng = torch.Generator().manual_seed(3)
    return Images(torch.rand(n, 3, 8, 8, generator=rng) - 0.5, torch.randint(10, (n,), generator=rng))


def test_logits_are_those_of_ordinary_layers() -> None:
    """Shared images and own images per network, both as torch.nn computes them."""
    networks, x = fresh([0, 1, 2], (3, 8, 8), leaky), images(5).pixels
    for i in range(3):
        torch.testing.assert_close(networks.logits(x)[i], module_of(networks, i)(x))
    own = torch.stack([x, 2 * x, -x])
    for i in range(3):
        torch.testing.assert_close(networks.logits(own)[i], module_of(networks, i)(own[i]))
    assert not torch.equal(networks.U[0], networks.U[1])


@pytest.mark.parametrize("double", [False, True], ids=["logits", "softmax twice"])
def test_training_together_is_training_alone(double: bool) -> None:
    """Each network of the stack ends where torch.optim.Adam takes it alone, on the same batches."""
    start, data = fresh([4, 5], (3, 8, 8), leaky), images()
    loss = softmax_twice if double else cross_entropy
    end = train(start, data, [(slice(0, 2), loss)], epochs=2, seed=7)
    for i in range(2):
        module = module_of(start, i)
        optimiser = torch.optim.Adam(module.parameters())
        rng = torch.Generator().manual_seed(7)
        for _ in range(2):
            for rows in torch.randperm(96, generator=rng).split(BATCH):
                output: Tensor = module(data.pixels[rows])
                if double:
                    output = output.softmax(dim=1)
                optimiser.zero_grad()
                nn.functional.cross_entropy(output, data.labels[rows]).backward()
                optimiser.step()
        torch.testing.assert_close(end.U[i], module[6].weight.data, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(end.kernel[i], module[0].weight.data, rtol=1e-3, atol=1e-5)
    assert float((end.U - start.U).abs().max()) > 1e-3


def test_a_softmax_in_the_loss_confines_it() -> None:
    """Ten classes: the doubled softmax keeps the loss within [1.461, 2.461]; the plain one is not confined."""
    logits = 50 * torch.nn.functional.one_hot(torch.tensor([[0, 1]]), 10).float()
    right, wrong = torch.tensor([0, 1]), torch.tensor([1, 0])
    assert float(softmax_twice(logits, right)) == pytest.approx(1.4612, abs=1e-3)
    assert float(softmax_twice(logits, wrong)) == pytest.approx(2.4612, abs=1e-3)
    assert float(cross_entropy(logits, wrong)) == pytest.approx(50, abs=1e-3)


def test_the_activation_of_figure_10_is_not_monotone() -> None:
    """m(x)² + .01 x at 2, −1 and its bottom at −.5."""
    x = torch.tensor([2.0, -1.0, -0.5])
    torch.testing.assert_close(square_like(x), torch.tensor([4.02, 0.0, -0.0025]))


def test_data_are_cut_as_the_notebooks_cut_them() -> None:
    """Proportions of 45800, 1000 and 3200 of 50000, moved to [-.5, .5]; pixels outside [0, 1] are refused."""
    pixels = torch.linspace(0, 1, 500)[:, None, None, None].expand(500, 1, 4, 4)
    labels = torch.arange(500)

    def read(start: int, stop: int) -> tuple[Tensor, Tensor]:
        return pixels[start:stop], labels[start:stop]

    data = cut("squares", read, read, (500, 500), limit=1000, comparable=False)
    assert [int(part.labels[0]) for part in (data.train, data.held, data.calibration)] == [0, 458, 468]
    assert [len(part.labels) for part in (data.train, data.held, data.calibration)] == [458, 10, 32]
    assert float(data.train.pixels.min()) == -0.5
    assert float(data.calibration.pixels.max()) == 0.5
    assert data.judge("agrees") == "other data: not comparable"
    assert len(cut("squares", read, read, (500, 500), limit=20, comparable=True).train.labels) == 20
    with pytest.raises(InputError, match="scale the data"):
        cut("bytes", lambda a, b: (255 * pixels[a:b], labels[a:b]), read, (500, 500), limit=100, comparable=True)
    with pytest.raises(InputError, match="at least 50"):
        cut("few", read, read, (40, 40), limit=100, comparable=True)
