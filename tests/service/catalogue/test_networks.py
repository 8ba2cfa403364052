"""Networks by key: shapes, names of parameters, normalisation, tracing, bad keys.

Mutations seen to turn a test red: normalisation left out or made persistent; a convolution in the shortcut; the padding
of the shortcut on one side; every second pixel replaced by pooling.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import fx, nn
from torch.nn import functional

import ensemble
from ensemble.errors import InputError, UnknownName
from service.catalogue import architectures
from service.catalogue.checkpoints import load_weights, read_state
from service.catalogue.datasets import load
from service.catalogue.networks import cifar_resnet

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("digits-cnn", (1, 8, 8)),
        ("mnist-cnn", (1, 28, 28)),
        ("resnet20", (3, 32, 32)),
        ("resnet32", (3, 32, 32)),
        ("torchvision/resnet18", (3, 64, 64)),
        ("torchvision/vgg11_bn", (3, 64, 64)),
        ("torchvision/mobilenet_v3_small", (3, 64, 64)),
    ],
)
def test_a_key_gives_a_traceable_network_with_the_asked_classes(key: str, shape: tuple[int, ...]) -> None:
    """Eval mode, logits of the asked width, and torch.fx follows the forward."""
    network = architectures.build(key, num_classes=7)
    inputs = torch.rand(2, *shape)
    assert not any(module.training for module in network.modules())
    with torch.no_grad():
        logits = network(inputs)
        torch.testing.assert_close(fx.symbolic_trace(network)(inputs), logits)
    assert logits.shape == (2, 7)


@pytest.mark.parametrize("key", ["digits-cnn", "resnet20"])
def test_small_networks_have_sites(key: str) -> None:
    """A group element can act in the networks the demo and the benchmark use."""
    shape = (1, 8, 8) if key == "digits-cnn" else (3, 32, 32)
    sites = ensemble.find_sites(architectures.build(key), torch.rand(2, *shape))
    assert len(sites) == (3 if key == "digits-cnn" else 9)


@pytest.mark.parametrize(("factory", "blocks"), [("resnet20", 3), ("resnet32", 5), ("resnet44", 7), ("resnet56", 9)])
def test_residual_networks_have_the_published_names_and_no_others(factory: str, blocks: int) -> None:
    """The keys are those of the public checkpoints: no shortcut parameters, no stored normalisation."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv1.weight", "linear.weight", "linear.bias"} | {f"bn1.{name}" for name in norm}
    for stage in (1, 2, 3):
        for block in range(blocks):
            for index in (1, 2):
                expected.add(f"layer{stage}.{block}.conv{index}.weight")
                expected |= {f"layer{stage}.{block}.bn{index}.{name}" for name in norm}
    network = getattr(cifar_resnet, factory)()
    assert set(network.state_dict()) == expected
    depth = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules())
    assert depth == 6 * blocks + 2


def test_the_shortcut_takes_every_second_pixel_and_pads_channels_on_both_sides() -> None:
    """Against a slow transcription of option A: zeros in front and behind, pixels 0, 2, 4, ... between."""
    images = torch.randn(2, 16, 6, 6)
    expected = torch.zeros(2, 32, 3, 3)
    for row in range(3):
        for column in range(3):
            expected[:, 8:24, row, column] = images[:, :, 2 * row, 2 * column]
    torch.testing.assert_close(cifar_resnet.Shortcut(16)(images), expected)


def test_normalisation_is_inside_the_network() -> None:
    """The stem sees (pixel - mean) / std: a network of plain pixels answers like its stem on normalised ones."""
    network = cifar_resnet.resnet20()
    images = torch.rand(3, 3, 32, 32)
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    seen: list[torch.Tensor] = []
    network.get_submodule("conv1").register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(images)
    torch.testing.assert_close(seen[0], (images - mean) / std)


def test_a_residual_block_adds_its_input() -> None:
    """With zeroed convolutions a block of stage one is relu(input)."""
    block = cifar_resnet.BasicBlock(4, 4, 1).eval()
    nn.init.zeros_(block.conv2.weight)
    images = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(images), functional.relu(images))


def test_known_lists_every_family_member() -> None:
    """Own networks by name, torchvision's as family members, and only classification networks."""
    known = architectures.known()
    assert {"digits-cnn", "mnist-cnn", "resnet56", "torchvision/resnet18", "torchvision/vit_b_16"} <= set(known)
    assert not any("fcos" in key or "quantized" in key for key in known)


@pytest.mark.parametrize("key", ["resnet21", "torchvision/resnet19", "", "../x", "os:system", "torchvision"])
def test_an_unknown_key_is_refused(key: str) -> None:
    """Nothing is imported by an unknown key; the message lists known ones."""
    with pytest.raises((UnknownName, InputError)):
        architectures.build(key)


def test_fewer_than_two_classes_are_refused() -> None:
    """A classifier needs two classes."""
    with pytest.raises(InputError, match="at least 2, got 1"):
        architectures.build("digits-cnn", num_classes=1)


@pytest.mark.shared
def test_published_resnet20_scores_what_was_measured() -> None:
    """The public checkpoint answers 81.3 % of the first thousand JPEG test images in file order (measured apart)."""
    if not SHARED.is_dir():
        pytest.skip(f"no data folder {SHARED.name} beside the repository")
    network = load_weights(cifar_resnet.resnet20(), SHARED / "resnet20.th")
    source = load(f"npz:{SHARED / 'cifar10_jpeg.npz'}")
    numbers = torch.arange(50_000, 51_000).numpy()
    inputs, labels = source.source.read(numbers), torch.from_numpy(source.labels[numbers])
    with torch.no_grad():
        right = float((network(inputs).argmax(1) == labels).float().mean())
    assert right == pytest.approx(0.813, abs=0.002)


@pytest.mark.shared
def test_safetensors_checkpoint_has_exactly_the_networks_keys() -> None:
    """Keys of an independently written checkpoint equal ours without any prefix work."""
    if not SHARED.is_dir():
        pytest.skip(f"no data folder {SHARED.name} beside the repository")
    path = SHARED / "resnet20_jpeg_seed1.safetensors"
    assert set(load_file(path)) == set(cifar_resnet.resnet20().state_dict()) == set(read_state(path))
