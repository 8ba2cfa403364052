"""The optional data of the benchmarks: JPEG-re-encoded CIFAR-10 and trained ResNet-20 checkpoints.

They are looked for in the folder named by LEVELSET_BENCH_DATA, else in `../shared/data` beside the repository; a
benchmark that needs them says what is missing and exits with 0.
"""

import io
import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from ensemble import Architecture
from ensemble.architectures import build

ENCODING = "JPEG-re-encoded CIFAR-10"


def folder() -> Path:
    """Return the folder of the benchmark data; leave the program, with a reason, where it is absent."""
    path = Path(os.environ.get("LEVELSET_BENCH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (path / "cifar10_jpeg.npz").exists():
        print("SKIPPED: no cifar10_jpeg.npz; set LEVELSET_BENCH_DATA to a folder that holds it")
        sys.exit(0)
    return path


def cifar10_jpeg(split: str, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Return images `[n 3 32 32]` float32 in [0, 1] and labels `[n]` of JPEG-re-encoded CIFAR-10.

    Args:
        split: "train" (50000) or "test" (5000).
        start: first image.
        stop: one past the last.
    """
    with np.load(folder() / "cifar10_jpeg.npz") as data:
        offsets, stream = data[f"{split}_offsets"], data[f"{split}_jpeg"].tobytes()
        labels = torch.from_numpy(data[f"{split}_labels"][start:stop].astype(np.int64))
    pixels = [np.asarray(Image.open(io.BytesIO(stream[offsets[i] : offsets[i + 1]]))) for i in range(start, stop)]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div(255).contiguous(), labels


def resnet20() -> nn.Module:
    """Return the public ResNet-20 checkpoint, in evaluation mode."""
    network = build(Architecture("resnet20", {"num_classes": 10}))
    state = torch.load(folder() / "resnet20.th", weights_only=True, map_location="cpu")
    state = state.get("state_dict", state)
    network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()}, strict=True)
    return network.eval()


def soft_resnet20(seed: int) -> nn.Module:
    """Return a ResNet-20 trained on images 0 to 44999 of the JPEG train part, seed 1 or 2, in evaluation mode.

    It has never seen train images 45000 to 49999: they are validation images for it.
    """
    network = build(Architecture("resnet20", {"num_classes": 10}))
    network.load_state_dict(load_file(folder() / f"resnet20_jpeg_seed{seed}.safetensors"), strict=True)
    return network.eval()
