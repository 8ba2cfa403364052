"""The model repository: what is stored comes back, and nothing is ever half there.

Mutations seen to turn a test red: the version not raised; the draft renamed before its record is written; names joined
unchecked; links followed; the digest of the record not compared; `versions` sorted as text.
"""

import json
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ensemble import Architecture, SymmetryEnsemble
from ensemble.errors import ArtifactError, InputError, LevelsetError, UnknownName
from service.catalogue.names import check_name
from service.catalogue.networks.small import digits_cnn
from service.catalogue.repository import ModelRepository

DIGITS = Architecture("digits-cnn", {"num_classes": 10})


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    """Return a repository whose folder does not exist yet."""
    return ModelRepository(tmp_path / "models")


def files_below(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_absent_folder_is_an_empty_repository(repository: ModelRepository) -> None:
    """Looking creates nothing."""
    assert repository.names() == []
    with pytest.raises(UnknownName, match="ensemble"):
        repository.info("digits")
    assert not repository.folder.exists()


def test_what_was_added_comes_back(repository: ModelRepository, small_ensemble: SymmetryEnsemble) -> None:
    """Record and parameters survive: same answers, same digest, same record."""
    added = repository.add("digits", small_ensemble, architecture=DIGITS, dataset="digits")
    loaded = repository.load("digits")
    inputs = torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(loaded(inputs), small_ensemble(inputs), rtol=0, atol=0)
    assert repository.info("digits") == added
    assert (added.version, added.members, added.input_shape, added.num_classes) == ("1", 2, (1, 8, 8), 10)
    assert (added.architecture, added.dataset, added.digest) == ("digits-cnn", "digits", small_ensemble.digest)
    assert small_ensemble.generation is not None
    assert added.calibration_digest == small_ensemble.generation.calibration_digest
    assert len(added.generation["sites"]) == 2


def test_versions_count_up_as_numbers_and_stay(repository: ModelRepository, small_ensemble: SymmetryEnsemble) -> None:
    """Version 10 follows version 9; the newest is the default; earlier ones keep their bytes."""
    repository.add("digits", small_ensemble, architecture=DIGITS)
    home = repository.folder / "digits"
    before = files_below(home / "1")
    (home / "1").rename(home / "9")
    record = json.loads((home / "9" / "model.json").read_text()) | {"version": "9"}
    (home / "9" / "model.json").write_text(json.dumps(record))
    assert repository.add("digits", small_ensemble, architecture=DIGITS).version == "10"
    assert repository.versions("digits") == ["9", "10"]
    assert repository.info("digits").version == "10"
    assert repository.info("digits", "9").version == "9"
    assert files_below(home / "9").keys() == before.keys()


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "..\\x", "/etc", "a/b", "a.b", "a\x00b", "a\r\nb", "a" * 97, "stats", "INDEX", "-a"),
        *("..%2f", "%252e%252e", "\u202ea", "a\u200bb", "é", "a ", "_a"),
    ],
)
def test_names_that_could_be_paths_or_confuse_are_refused(
    repository: ModelRepository, small_ensemble: SymmetryEnsemble, name: str
) -> None:
    """Nothing is written, and reading such a name finds no ensemble."""
    with pytest.raises(InputError, match="ensemble name"):
        repository.add(name, small_ensemble, architecture=DIGITS)
    with pytest.raises(UnknownName):
        repository.info(name)
    assert not repository.folder.exists()


@given(name=st.text(max_size=120))
def test_an_accepted_name_is_one_plain_path_component(name: str) -> None:
    """Whatever text is accepted names exactly one entry of the folder it is joined to."""
    try:
        check_name(name)
    except InputError:
        return
    path = Path("/models") / name
    assert path.parent == Path("/models")
    assert (path.name, os.path.normpath(path)) == (name, str(path))
    assert name.isascii()


@pytest.mark.parametrize("version", ["0", "2", "01", "-1", "1/../1", "latest", "..", "1 ", "\u0661"])
def test_unknown_versions_are_refused(
    repository: ModelRepository, small_ensemble: SymmetryEnsemble, version: str
) -> None:
    """Only a listed version is joined to a path."""
    repository.add("digits", small_ensemble, architecture=DIGITS)
    with pytest.raises(UnknownName, match="version"):
        repository.load("digits", version)


@pytest.mark.parametrize("link", ["digits", "digits/1", "digits/1/artifact", "digits/1/artifact/base.safetensors"])
def test_symbolic_links_are_refused(
    repository: ModelRepository, small_ensemble: SymmetryEnsemble, tmp_path: Path, link: str
) -> None:
    """A link, at any depth, is not followed even when it points at a valid copy."""
    repository.add("digits", small_ensemble, architecture=DIGITS)
    path, aside = repository.folder / link, tmp_path / "aside"
    path.rename(aside)
    path.symlink_to(aside)
    with pytest.raises((ArtifactError, UnknownName)):
        repository.load("digits")


@pytest.mark.parametrize("kept", [0, 1, 40, -1])
@pytest.mark.parametrize("file", ["model.json", "artifact/manifest.json", "artifact/base.safetensors"])
def test_a_shortened_file_is_an_artifact_error(
    repository: ModelRepository, small_ensemble: SymmetryEnsemble, file: str, kept: int
) -> None:
    """Whatever is missing from whichever file: our error, never another one, never a wrong model."""
    repository.add("digits", small_ensemble, architecture=DIGITS)
    path = repository.folder / "digits" / "1" / file
    content = path.read_bytes().rstrip()
    path.write_bytes(content[:kept])
    with pytest.raises(ArtifactError):
        repository.load("digits")


def test_a_flipped_bit_in_the_weights_is_found(repository: ModelRepository, small_ensemble: SymmetryEnsemble) -> None:
    """Digests are verified at every load."""
    repository.add("digits", small_ensemble, architecture=DIGITS)
    path = repository.folder / "digits" / "1" / "artifact" / "members.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        repository.load("digits")


def test_a_valid_artifact_of_another_ensemble_is_found(
    repository: ModelRepository, small_ensemble: SymmetryEnsemble
) -> None:
    """An exchanged artifact has valid digests of its own, but not the one of the record."""
    repository.add("digits", small_ensemble, architecture=DIGITS)
    artifact = repository.folder / "digits" / "1" / "artifact"
    shutil.rmtree(artifact)
    other = SymmetryEnsemble(small_ensemble.member(0), (1, 8, 8), small_ensemble.layers, small_ensemble.generation)
    other.save(artifact, architecture=DIGITS)
    with pytest.raises(ArtifactError, match="exchanged"):
        repository.load("digits")


def test_a_renamed_folder_is_found(repository: ModelRepository, small_ensemble: SymmetryEnsemble) -> None:
    """A record that names another ensemble is not served under this name."""
    repository.add("digits", small_ensemble, architecture=DIGITS)
    (repository.folder / "digits").rename(repository.folder / "other")
    with pytest.raises(ArtifactError, match="renamed or copied"):
        repository.info("other")


def test_leftovers_of_a_crash_are_not_versions(repository: ModelRepository, small_ensemble: SymmetryEnsemble) -> None:
    """A draft that was never renamed, or a stray file, is neither listed nor loaded, and does not stop the next one."""
    (repository.folder / "digits" / ".new-abc").mkdir(parents=True)
    (repository.folder / "stray.txt").write_text("x")
    assert repository.names() == []
    assert repository.add("digits", small_ensemble, architecture=DIGITS).version == "1"
    assert repository.names() == ["digits"]


def test_a_failing_save_leaves_nothing(
    repository: ModelRepository, small_ensemble: SymmetryEnsemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the middle: an artifact error, the old version untouched, no draft left."""
    repository.add("digits", small_ensemble, architecture=DIGITS)
    before = files_below(repository.folder)

    def full(self: SymmetryEnsemble, folder: Path, **options: object) -> None:
        folder.mkdir()
        (folder / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SymmetryEnsemble, "save", full)
    with pytest.raises(ArtifactError, match="nothing was stored"):
        repository.add("digits", small_ensemble, architecture=DIGITS)
    assert files_below(repository.folder) == before
    assert [path.name for path in (repository.folder / "digits").iterdir()] == ["1"]


def _add(folder: Path, model: SymmetryEnsemble, count: int) -> None:
    torch.set_num_threads(1)
    for _ in range(count):
        ModelRepository(folder).add("digits", model, architecture=DIGITS)


def test_writers_at_the_same_time_get_different_versions(
    repository: ModelRepository, small_ensemble: SymmetryEnsemble
) -> None:
    """Two processes, four additions each: eight whole versions, none lost, none overwritten."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add, args=(repository.folder, small_ensemble, 4)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert repository.versions("digits") == [str(number) for number in range(1, 9)]
    for version in repository.versions("digits"):
        assert repository.load("digits", version).digest == small_ensemble.digest


def test_drafts_of_other_writers_are_passed_over(
    repository: ModelRepository, small_ensemble: SymmetryEnsemble, tmp_path: Path
) -> None:
    """What another writer's draft holds, or that it goes away meanwhile, is no affair of an addition."""
    repository.add("digits", small_ensemble, architecture=DIGITS)
    draft = repository.folder / "digits" / ".new-other"
    draft.mkdir()
    (draft / "artifact").symlink_to(tmp_path)
    assert repository.add("digits", small_ensemble, architecture=DIGITS).version == "2"


def test_a_network_of_its_authors_own_needs_its_code(
    repository: ModelRepository, small_ensemble: SymmetryEnsemble
) -> None:
    """Without an architecture in the record nothing is guessed; with the code it loads."""
    repository.add("own", small_ensemble, architecture=None)
    with pytest.raises(InputError, match="--arch"):
        repository.load("own")
    assert repository.load("own", build=digits_cnn).digest == small_ensemble.digest


def test_an_architecture_that_is_not_installed_is_named(
    repository: ModelRepository, small_ensemble: SymmetryEnsemble
) -> None:
    """A repository from a machine with other packages says which architecture is missing."""
    repository.add("other", small_ensemble, architecture=Architecture("their-net", {}))
    with pytest.raises(LevelsetError, match="their-net"):
        repository.load("other")


@pytest.mark.parametrize("names", [("a",), tuple("abcdefghijk")])
def test_class_names_must_fit(
    repository: ModelRepository, small_ensemble: SymmetryEnsemble, names: tuple[str, ...]
) -> None:
    """One name per class of the network, or none at all."""
    with pytest.raises(InputError, match="class names: expected 10"):
        repository.add("digits", small_ensemble, architecture=DIGITS, class_names=names)
    assert not repository.folder.exists()
