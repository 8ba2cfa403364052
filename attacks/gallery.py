"""A few attacked inputs to look at: what was sent, what changed, and who answers what.

Pictures are tiny PNGs; a gallery shows what kind of change an attack makes and proves nothing.
"""

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attacks.gradient import KEEP_SERVED_MARGIN, KEEP_SURROGATE_LOSS, pgd
from attacks.ladder import craft
from attacks.targets import EnsembleModel, NetworkModel
from attacks.threat import ThreatModel

#: Items of a gallery, and pixels of a side: together they bound the size of a report.
ITEMS, SIDE = 12, 64
HELD, LOST, LEAK = "held", "lost", "leak"


def png(image: Tensor) -> bytes:
    """Return an image as a PNG file of 8 bits per channel.

    Args:
        image: `[channel height width]` in [0, 1], one channel (grey) or three (colour).
    """
    channels, height, width = image.shape
    pixels = (image * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).reshape(height, -1).cpu()
    rows = b"".join(b"\0" + bytes(row.tolist()) for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _embedded(image: Tensor) -> str:
    step = -(-max(image.shape[1:]) // SIDE)
    return base64.b64encode(png(image[:, ::step, ::step])).decode()


def gallery(
    target: NetworkModel, base: NetworkModel, inputs: Tensor, labels: Tensor, threat: ThreatModel, *, seed: int
) -> list[dict[str, Any]]:
    """Return some points at the headline radius: lost to a white-box attack, leaked to one made on the base, and held.

    Args:
        target: the network evaluated, as served.
        base: the base network.
        inputs: `[batch channel height width]`, a block of points that fits in memory.
        labels: `[batch]` int64.
        threat: norm, headline radius and bounds.
        seed: of the attack's start points.

    Returns:
        JSON values, at most 12, as even over the three kinds as there are points; none for inputs that are no images.
    """
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3) or threat.headline == 0:
        return []
    torch.manual_seed(seed)
    headline = ThreatModel(threat.norm, (threat.headline,), threat.bounds)
    sides = ((target, "PGD-20, white box", KEEP_SERVED_MARGIN), (base, "PGD-20, made on the base", KEEP_SURROGATE_LOSS))
    made, held = [], []
    for model, _, keep in sides:
        attack = pgd(threat.norm, steps=20, rel_stepsize=0.1, random_start=True, keep=keep)
        made.append(craft(attack, model, inputs, labels, headline).examples[0])
        held.append(target.held(made[-1], labels))
    right = target.held(inputs, labels)
    kinds = {
        LOST: (right & ~held[0], 0),
        LEAK: (right & held[0] & ~held[1], 1),
        HELD: (right & held[0] & held[1], 0),
    }
    chosen = _evenly({kind: flags.nonzero()[:, 0].tolist() for kind, (flags, _) in kinds.items()})
    items = []
    for kind, index in chosen:
        side = kinds[kind][1]
        items.append(
            {
                "index": index,
                "label": int(labels[index]),
                "kind": kind,
                "norm": threat.norm,
                "epsilon": threat.headline,
                "attack": sides[side][1],
                **_pictures(inputs[index], made[side][index], threat.bounds),
                **_answers(target, base, made[side][index]),
            }
        )
    return items


def _evenly(found: dict[str, list[int]]) -> list[tuple[str, int]]:
    """Return (kind, index) of at most `ITEMS` points, taken from the kinds in turn, kinds together."""
    taken: dict[str, int] = dict.fromkeys(found, 0)
    while sum(taken.values()) < ITEMS:
        waiting = [kind for kind in found if taken[kind] < len(found[kind])]
        if not waiting:
            break
        taken[min(waiting, key=taken.__getitem__)] += 1
    return [(kind, index) for kind, indices in found.items() for index in indices[: taken[kind]]]


def _pictures(original: Tensor, perturbed: Tensor, bounds: Sequence[float]) -> dict[str, Any]:
    low, width = bounds[0], bounds[1] - bounds[0]
    change = (perturbed - original) / width
    largest = float(change.abs().max())
    scale = 0.5 / largest if largest else 1.0
    return {
        "original_png": _embedded((original - low) / width),
        "perturbed_png": _embedded((perturbed - low) / width),
        "difference_png": _embedded(0.5 + scale * change),
        "difference_scale": scale,
    }


def _answers(target: NetworkModel, base: NetworkModel, example: Tensor) -> dict[str, Any]:
    members = target.member_answers(example[None])[:, 0].tolist() if isinstance(target, EnsembleModel) else []
    return {
        "base_label": int(base.answers(example[None])),
        "served_label": int(target.answers(example[None])),
        "member_labels": members,
    }
