"""A data folder with a small real ensemble, and the command line as a function."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import save_file

from service import demo
from service.catalogue import architectures, datasets
from service.cli import main


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of the command line left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


Levelset = Callable[..., Outcome]


@pytest.fixture
def levelset(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Levelset:
    """Return a function that runs the command line in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with trained weights, a quick recipe, and in `var` an ensemble `small` of two members."""
    folder = tmp_path_factory.mktemp("stock")
    with demo.one_thread():
        part = datasets.load("digits").part("train")
        network = demo.train(architectures.build("digits-cnn"), part, seed=0, progress=lambda step: None)
    save_file(network.state_dict(), folder / "digits.safetensors")
    (folder / "quick.json").write_text('{"search_steps": 0, "scale": 0.5, "crafting_radii": []}')
    with pytest.raises(SystemExit) as ended:
        main(
            [
                *("build", "--arch", "digits-cnn", "--weights", str(folder / "digits.safetensors")),
                *("--dataset", "digits", "--name", "small", "--members", "2", "--recipe", str(folder / "quick.json")),
                *("--data", str(folder / "var")),
            ]
        )
    assert not ended.value.code
    return folder
