"""Weights from files: prefixes, misfits, damage, and code that must not run.

Mutations seen to turn a test red: no prefix stripped; `weights_only=False` (the marker appears); the NaN check removed;
shapes not compared.
"""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ensemble.errors import ArtifactError, InputError
from service.catalogue.checkpoints import load_weights
from service.catalogue.networks.small import digits_cnn
from service.catalogue.networks.torchvision_models import torchvision_model


def trained() -> nn.Module:
    """Return a digits network with unusual weights."""
    network = digits_cnn()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return network


def same(one: nn.Module, other: nn.Module) -> bool:
    """Return whether two networks hold equal tensors."""
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(left, right) for (a, left), (b, right) in pairs)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".th", ".pth"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_weights_come_back_through_every_format_and_prefix(tmp_path: Path, suffix: str, prefix: str) -> None:
    """What was stored is what the network holds, whatever wrapper prepended its name."""
    network = trained()
    state = {prefix + key: value.clone() for key, value in network.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    loaded = load_weights(digits_cnn(), path)
    assert same(loaded, network)
    assert not loaded.training


def test_a_training_checkpoint_keeps_its_weights_one_level_down(tmp_path: Path) -> None:
    """Epoch and optimiser beside `state_dict` do not matter."""
    network = trained()
    torch.save({"epoch": 3, "best": 0.9, "state_dict": network.state_dict()}, tmp_path / "x.pt")
    assert same(load_weights(digits_cnn(), tmp_path / "x.pt"), network)


def test_batch_counters_of_old_checkpoints_may_be_missing(tmp_path: Path) -> None:
    """They decide nothing in eval mode."""
    state = {key: value for key, value in trained().state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "x.pt")
    assert int(load_weights(digits_cnn(), tmp_path / "x.pt").get_buffer("bn1.num_batches_tracked")) == 0


def test_torchvision_keys_fit_the_normalising_wrapper(tmp_path: Path) -> None:
    """A checkpoint of the plain torchvision network loads as it was published."""
    network = torchvision_model("squeezenet1_1", num_classes=3)
    inner = network.get_submodule("network")
    save_file({key: value.clone() for key, value in inner.state_dict().items()}, tmp_path / "x.safetensors")
    assert same(load_weights(torchvision_model("squeezenet1_1", num_classes=3), tmp_path / "x.safetensors"), network)


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    """Return a state dictionary with entries replaced, or dropped where None."""
    state = {**digits_cnn().state_dict(), **{key.replace("__", "."): value for key, value in changes.items()}}
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (changed(conv1__weight=None), InputError, r"missing \[conv1.weight\], unexpected \[\]"),
        (changed(extra__weight=torch.zeros(1)), InputError, r"missing \[\], unexpected \[extra.weight\]"),
        (
            changed(linear2__weight=torch.zeros(9, 64)),
            InputError,
            r"'linear2.weight' of shape \[10, 64\], got \[9, 64\]",
        ),
        (
            changed(conv2__weight=torch.full((16, 16, 3, 3), torch.nan)),
            ArtifactError,
            "NaN or infinity in 'conv2.weight'",
        ),
        (changed(bn1__running_var=torch.full((16,), torch.inf)), ArtifactError, "NaN or infinity"),
        ({}, ArtifactError, "dictionary from parameter names"),
        ([torch.zeros(2)], ArtifactError, "dictionary from parameter names"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(
    tmp_path: Path, state: Any, error: type[Exception], message: str
) -> None:
    """The message names the tensor; the network keeps the weights it had."""
    torch.save(state, tmp_path / "x.pt")
    network = trained()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(error, match=message):
        load_weights(network, tmp_path / "x.pt")
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Bomb:
    """Creates a marker file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Return the call an unpickler would make."""
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("suffix", [".pt", ".th", ".safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_cannot_run_code(tmp_path: Path, suffix: str, zipped: bool) -> None:
    """Pickles, in torch's archive or bare, are refused, and the marker file is not created."""
    path, marker = tmp_path / f"x{suffix}", tmp_path / "marker"
    if zipped:
        torch.save({"weight": Bomb(marker)}, path)
    else:
        path.write_bytes(pickle.dumps({"weight": Bomb(marker)}))
    with pytest.raises(ArtifactError):
        load_weights(digits_cnn(), path)
    assert not marker.exists()


def damaged() -> list[bytes]:
    """Return contents that are no checkpoint: empty, text, truncated, an unrelated archive, an absurd header."""
    whole, archive = io.BytesIO(), io.BytesIO()
    torch.save(digits_cnn().state_dict(), whole)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "a")
    return [
        b"",
        b"text",
        whole.getvalue()[: len(whole.getvalue()) // 2],
        archive.getvalue(),
        (2**63).to_bytes(8, "little"),
    ]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", damaged(), ids=["empty", "text", "truncated", "archive", "header"])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    """Whatever the bytes, the answer is our error with the file's name, not the library's own."""
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"weights x{suffix}"):
        load_weights(digits_cnn(), path)


def test_missing_files_and_unknown_suffixes_are_refused(tmp_path: Path) -> None:
    """The message says what was expected."""
    with pytest.raises(InputError, match="got nothing at"):
        load_weights(digits_cnn(), tmp_path / "absent.pt")
    (tmp_path / "x.h5").write_bytes(b"")
    with pytest.raises(InputError, match=r"\.safetensors or one of"):
        load_weights(digits_cnn(), tmp_path / "x.h5")
