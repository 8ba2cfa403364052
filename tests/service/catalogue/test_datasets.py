"""Data sets by name and by path: pixels, labels, parts, digests, and what bad ones are told.

Mutations seen to turn a test red: digits not divided by 16; labels not indexed by the part; a digest over the pixels
alone; channels last left last; the first n images taken in sorted order.
"""

import gzip
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from ensemble.errors import InputError, UnknownName
from service.catalogue import datasets
from service.catalogue.datasets import image_folder, npz_file
from service.catalogue.model_info import ModelInfo

NAMES = ("train", "calibration", "attacker", "validation", "test")


def test_digits_are_the_images_of_scikit_learn_with_their_labels() -> None:
    """Pixels are the original counts over 16, beside the label of the very same image."""
    original = load_digits()
    source = datasets.load("digits")
    assert (source.num_classes, source.input_shape, source.encoding) == (10, (1, 8, 8), "lossless")
    part = source.part("test")
    assert part.inputs.shape == (len(part.ids), 1, 8, 8)
    assert (part.inputs.dtype, part.labels.dtype) == (torch.float32, torch.int64)
    for row, index in enumerate(part.ids):
        np.testing.assert_array_equal(part.inputs[row, 0].numpy() * 16, original.images[index])
        assert int(part.labels[row]) == original.target[index]


def test_parts_of_digits_share_no_image() -> None:
    """No image number is in two parts, and no pixel content either, except where the data set itself repeats one."""
    source = datasets.load("digits")
    ids = [set(source.part(name).ids) for name in NAMES]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 1797


def test_a_smaller_part_is_a_prefix_and_has_another_digest() -> None:
    """Taking fewer images takes the first ones; the digest tells the two apart and repeats on a second read."""
    source = datasets.load("digits")
    small, large = source.part("test", 20), source.part("test", 21)
    torch.testing.assert_close(small.inputs, large.inputs[:20])
    assert large.ids == source.part("test").ids[:21]
    assert small.digest != large.digest
    assert small.digest == datasets.load("digits").part("test", 20).digest


def test_the_digest_covers_pixels_labels_and_shape() -> None:
    """One changed label, one changed pixel or another shape of the same bytes gives another digest."""
    inputs, labels = torch.zeros(2, 1, 2, 2), torch.tensor([0, 1])
    changed = inputs.clone()
    changed[0, 0, 0, 0] = 1e-6
    digests = {
        datasets.values.content_digest(*pair)
        for pair in (
            (inputs, labels),
            (changed, labels),
            (inputs, torch.tensor([1, 0])),
            (inputs.reshape(2, 1, 1, 4), labels),
        )
    }
    assert len(digests) == 4


@pytest.mark.parametrize("n", [0, -1, 307])
def test_a_part_refuses_a_number_of_images_it_does_not_hold(n: int) -> None:
    """The message names the part and how many images it has."""
    with pytest.raises(InputError, match=r"part test: expected to take between 1 and its 306 images"):
        datasets.load("digits").part("test", n)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    """A wrong data set or part is answered with the right ones."""
    with pytest.raises(UnknownName, match="fashion-mnist"):
        datasets.load("imagenet")
    with pytest.raises(UnknownName, match="calibration"):
        datasets.load("digits").part("holdout")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_a_missing_torchvision_set_says_what_to_do(name: str, tmp_path: Path) -> None:
    """Neither a crash nor a download: the message names the folder and the option."""
    with pytest.raises(InputError, match="--download"):
        datasets.load(name, tmp_path)
    with pytest.raises(InputError, match="--data-root"):
        datasets.load(name, None)
    assert list(tmp_path.iterdir()) == []


def test_mnist_files_are_read_from_the_given_folder(tmp_path: Path) -> None:
    """Real files in MNIST's own format: published test images become the test part, pixels are divided by 255."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    pixels: dict[str, Any] = {}
    for kind, count in (("train", 60), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        pixels[kind] = (images, labels)
        head = struct.pack(">iiii", 2051, count, 28, 28)
        (folder / f"{kind}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        (folder / f"{kind}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, count) + labels.tobytes())
    source = datasets.load("mnist", tmp_path)
    part = source.part("test")
    assert (source.input_shape, source.num_classes, len(part.ids)) == ((1, 28, 28), 10, 10)
    images, labels = pixels["t10k"]
    for row, index in enumerate(part.ids):
        np.testing.assert_allclose(part.inputs[row, 0].numpy(), images[index - 60] / 255, atol=1e-7)
        assert int(part.labels[row]) == labels[index - 60]


def write_folder(root: Path, *, count: int = 30, size: int = 6, mode: str = "RGB", suffix: str = ".png") -> Path:
    """Return an image folder of two classes with random pixels."""
    rng = np.random.default_rng(1)
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for index in range(count):
            shape = (size, size, 3) if mode == "RGB" else (size, size)
            pixels = rng.integers(0, 256, shape, dtype=np.uint8)
            pixels[..., 0] = label
            Image.fromarray(pixels).save(root / name / f"{index:03d}{suffix}")
    return root


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_an_image_folder_gives_pixels_and_classes(tmp_path: Path, mode: str, channels: int) -> None:
    """Sub-folders in sorted order are the classes; pixels are exact for lossless files."""
    source = datasets.load(f"folder:{write_folder(tmp_path / 'pets', mode=mode)}")
    part = source.part("train")
    assert (source.class_names, source.input_shape, source.encoding) == (("cat", "dog"), (channels, 6, 6), "lossless")
    marked = part.inputs[:, 0, :, :] if mode == "RGB" else part.inputs[:, 0, :, :1]
    torch.testing.assert_close(marked * 255, part.labels.float()[:, None, None].expand(marked.shape))


def test_a_jpeg_folder_names_its_encoding(tmp_path: Path) -> None:
    """Reports must say that the images were re-encoded."""
    assert datasets.load(f"folder:{write_folder(tmp_path / 'pets', suffix='.jpg')}").encoding == "JPEG"


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    """Images are never resized silently."""
    root = write_folder(tmp_path / "pets")
    Image.new("RGB", (7, 6)).save(root / "dog" / "zzz.png")
    source = datasets.load(f"folder:{root}")
    with pytest.raises(InputError, match=r"zzz.png: expected \[3, 6, 6\]"):
        [source.part(name) for name in NAMES]


def test_a_file_of_another_format_than_its_suffix_is_refused(tmp_path: Path) -> None:
    """A GIF called .png is not read: the list of formats is explicit."""
    root = write_folder(tmp_path / "pets")
    Image.new("L", (6, 6)).save(tmp_path / "x.gif")
    (tmp_path / "x.gif").rename(root / "cat" / "000.png")
    with pytest.raises(InputError, match=r"000.png"):
        datasets.load(f"folder:{root}")


def test_an_oversized_image_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size in the header is judged first."""
    root = write_folder(tmp_path / "pets")
    monkeypatch.setattr(image_folder, "LARGEST", 35)
    with pytest.raises(InputError, match="6x6 pixels"):
        datasets.load(f"folder:{root}")


def test_a_sixteen_bit_image_is_refused(tmp_path: Path) -> None:
    """Its levels would be clipped to 255, not scaled."""
    root = write_folder(tmp_path / "pets", mode="L")
    Image.fromarray(np.full((6, 6), 300, dtype=np.uint16)).save(root / "cat" / "000.png")
    with pytest.raises(InputError, match="mode I;16"):
        datasets.load(f"folder:{root}")


@pytest.mark.parametrize(("suffix", "form"), sorted(image_folder.FORMATS.items()))
def test_a_damaged_image_is_read_or_refused(tmp_path: Path, suffix: str, form: str) -> None:
    """Whatever bytes are flipped or cut off, there is no third outcome."""
    path, rng = tmp_path / f"x{suffix}", np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path, form)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    refused = 0
    for _ in range(300):
        damaged = whole.copy()
        damaged[rng.integers(0, min(60, len(whole)), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged[: rng.integers(1, len(whole) + 1)].tobytes())
        try:
            image_folder.decode(path, "RGB")
        except InputError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, "expected a folder, got nothing"),
        (lambda root: root.mkdir(), "at least two"),
        (lambda root: [(root / name).mkdir(parents=True) for name in "ab"], "got none; remove or fill it"),
        (lambda root: write_folder(root, count=10), "at least 50 images"),
    ],
)
def test_bad_folders_are_refused(tmp_path: Path, prepare: Any, message: str) -> None:
    """Each kind of wrong folder is told what was expected."""
    prepare(tmp_path / "pets")
    with pytest.raises(InputError, match=message):
        datasets.load(f"folder:{tmp_path / 'pets'}")


def whole(count: int = 60, **changes: Any) -> dict[str, Any]:
    """Return the arrays of a valid whole .npz, some of them replaced."""
    rng = np.random.default_rng(2)
    return {
        "x": rng.integers(0, 256, (count, 5, 4, 3), dtype=np.uint8),
        "y": (np.arange(count) % 3).astype(np.int32),
        **changes,
    }


def load_npz(folder: Path, arrays: dict[str, Any]) -> datasets.DataSet:
    """Return the data set of arrays written to a file."""
    np.savez(folder / "own.npz", **arrays)
    return datasets.load(f"npz:{folder / 'own.npz'}")


def test_a_whole_npz_is_cut_into_parts_and_brought_to_channels_first(tmp_path: Path) -> None:
    """Pixels of `[n H W C]` come out as `[n C H W]` over 255, at their own labels."""
    arrays = whole(classes=np.array(["a", "b", "c"]), encoding=np.array("WEBP"))
    source = load_npz(tmp_path, arrays)
    assert (source.input_shape, source.class_names, source.encoding) == ((3, 5, 4), ("a", "b", "c"), "WEBP")
    part = source.part("calibration")
    for row, index in enumerate(part.ids):
        expected = arrays["x"][index].transpose(2, 0, 1) / 255
        np.testing.assert_allclose(part.inputs[row].numpy(), expected, atol=1e-7)
        assert int(part.labels[row]) == arrays["y"][index]


def test_a_published_npz_keeps_its_test_images_apart(tmp_path: Path) -> None:
    """`x_test` alone feeds the part `test`."""
    arrays = {
        "x_train": np.zeros((60, 4, 4), np.float32),
        "y_train": np.zeros(60, np.uint8),
        "x_test": np.ones((7, 4, 4), np.float32),
        "y_test": np.ones(7, np.uint8),
    }
    source = load_npz(tmp_path, arrays)
    assert float(source.part("test").inputs.min()) == 1.0
    assert all(float(source.part(name).inputs.max()) == 0.0 for name in NAMES[:-1])


def encoded(folder: Path, *, last: tuple[int, int] = (8, 8)) -> dict[str, Any]:
    """Return the arrays of a valid encoded .npz, the last test image of another size where asked."""
    arrays: dict[str, Any] = {}
    for kind, count, shade in (("train", 60, 40), ("test", 5, 200)):
        streams = []
        for index in range(count):
            size = last if (kind, index) == ("test", 4) else (8, 8)
            Image.new("RGB", size, (shade + index % 2, 0, 0)).save(folder / "x.jpg", quality=100)
            streams.append((folder / "x.jpg").read_bytes())
        arrays[f"{kind}_jpeg"] = np.frombuffer(b"".join(streams), np.uint8)
        arrays[f"{kind}_offsets"] = np.cumsum([0, *map(len, streams)])
        arrays[f"{kind}_labels"] = np.arange(count) % 2
    return arrays


def test_an_encoded_image_of_another_size_is_refused(tmp_path: Path) -> None:
    """The message names the image and both sizes."""
    source = load_npz(tmp_path, encoded(tmp_path, last=(8, 9)))
    with pytest.raises(InputError, match=r"encoded image 64: expected \[3, 8, 8\] like the first, got \[3, 9, 8\]"):
        source.part("test")


def test_encoded_images_are_decoded_from_their_own_bytes(tmp_path: Path) -> None:
    """Image i is the JPEG between two offsets, of the training or of the test stream."""
    source = load_npz(tmp_path, encoded(tmp_path))
    part = source.part("test")
    assert (source.encoding, source.input_shape) == ("JPEG", (3, 8, 8))
    torch.testing.assert_close(part.inputs[:, 0, 0, 0] * 255, 200.0 + part.labels, atol=3, rtol=0)
    assert float(source.part("train").inputs.max()) < 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.zeros(59, np.int64)}, "60 integer labels"),
        ({"y": np.zeros(60, np.float32)}, "60 integer labels"),
        ({"y": np.full(60, -1)}, "60 integer labels"),
        ({"x": np.zeros((60, 5), np.uint8)}, "n C H W"),
        ({"x": np.zeros((60, 2, 5, 7), np.uint8)}, "n C H W"),
        ({"x": np.zeros((60, 4, 4), np.int64)}, "uint8 or floating-point"),
        ({"x": np.full((60, 4, 4), 2.0)}, r"\[0, 1\]"),
        ({"x": np.full((60, 4, 4), np.nan)}, "finite"),
        ({"classes": np.array(["a"])}, "each of 3 classes"),
        ({"classes": np.array("abc")}, "each of 3 classes"),
        ({"y": np.full(60, 2**40)}, "labels below the number of images"),
    ],
)
def test_malformed_npz_arrays_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """Each malformed array is told what was expected."""
    with pytest.raises(InputError, match=message):
        load_npz(tmp_path, whole(**changes))


def test_an_npz_without_known_keys_lists_what_is_expected(tmp_path: Path) -> None:
    """The message lists the layouts and the keys found."""
    with pytest.raises(InputError, match=r"expected the keys .*x_train.*got \['images'\]"):
        load_npz(tmp_path, {"images": np.zeros(3)})


class Bomb:
    """Creates a marker file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Return the call an unpickler would make."""
        return (Path.touch, (self.marker,))


def test_object_arrays_and_pickles_are_never_unpickled(tmp_path: Path) -> None:
    """A data file cannot run code: neither as an object array nor as a plain pickle called .npz."""
    bomb = Bomb(tmp_path / "marker")
    objects = np.empty(60, dtype=object)
    objects[:] = [bomb] * 60
    with pytest.raises(InputError, match="cannot be read"):
        load_npz(tmp_path, whole(y=objects))
    for name, content in (("p.npz", pickle.dumps(bomb)), ("g.npz", gzip.compress(b"x")), ("e.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            npz_file.npz_file(tmp_path / name)
    assert not (tmp_path / "marker").exists()
    with pytest.raises(InputError, match="got nothing at"):
        datasets.load(f"npz:{tmp_path / 'absent.npz'}")


def test_two_files_of_one_name_are_two_data_sets(tmp_path: Path) -> None:
    """Images, labels and order decide the digest, the name does not; an ensemble knows which one it was made on."""
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    labels = np.arange(60) % 4
    variants = {"one": (images, labels), "pixels": (255 - images, labels), "labels": (images, labels[::-1])}
    found = {}
    for folder, (x, y) in variants.items():
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "street.npz", x=x, y=y)
        found[folder] = datasets.load(f"npz:{tmp_path / folder / 'street.npz'}")
    np.savez(tmp_path / "copy.npz", x=images, y=labels)
    assert len({source.digest for source in found.values()}) == 3
    assert {source.name for source in found.values()} == {"street"}
    copy = datasets.load(f"npz:{tmp_path / 'copy.npz'}")
    assert copy.digest == found["one"].digest
    fields = {"name": "x", "version": "1", "architecture": None, "members": 1, "digest": "d", "base_digest": "b"}
    fields |= {"input_shape": (1, 8, 8), "num_classes": 4, "created_at": "2026-01-01T00:00:00Z", "dataset": "street"}
    info = ModelInfo.model_validate(fields | {"dataset_digest": found["one"].digest})
    assert info.was_made_on(copy, offered_as="copy")
    assert not info.was_made_on(found["pixels"], offered_as="street")
    old = ModelInfo.model_validate(fields)
    assert old.was_made_on(found["pixels"], offered_as="other")
    assert not old.was_made_on(copy, offered_as="copy")
