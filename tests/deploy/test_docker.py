"""The docker files are right as far as one can tell without an engine: linted, valid, and careful.

Mutations seen to fail: USER removed; HEALTHCHECK in shell form; `ports: ["8000:8000"]`; `read_only` removed; `cap_drop`
removed; an unknown key in the compose file; `-c constraints.txt` dropped; `.venv` let into the build context.
"""

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "docker-compose.yml"
UID = "10001"
INSTALL = "pip install -c constraints.txt ."


@pytest.fixture(scope="module")
def instructions() -> list[str]:
    """Return the instructions of the Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [line.strip() for line in joined.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the compose file with anchors and merges resolved, as an engine reads it."""
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def stage(instructions: list[str], name: str) -> list[str]:
    """Return the instructions of one stage, its FROM line first."""
    starts = [i for i, line in enumerate(instructions) if line.startswith("FROM ")]
    begin = next(i for i in starts if instructions[i].endswith(f" AS {name}"))
    return instructions[begin : next((i for i in starts if i > begin), len(instructions))]


def test_hadolint_has_nothing_to_say() -> None:
    """The Dockerfile passes hadolint without any ignored rule."""
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed; the extra `dev` brings it")
    done = subprocess.run([linter, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_base_images_are_pinned_by_tag(instructions: list[str]) -> None:
    """Every outside image is the slim Python image of one tag; no digest is invented."""
    bases = {line.split()[1] for line in instructions if line.startswith("FROM ")}
    stages = {line.split()[-1] for line in instructions if line.startswith("FROM ")}
    assert bases - stages == {"python:3.11-slim-bookworm"}


def test_the_default_target_is_the_cpu_image(instructions: list[str]) -> None:
    """A plain build ends in the CPU stage, and the CUDA image is a stage of its own."""
    froms = [line for line in instructions if line.startswith("FROM ")]
    assert froms[-1] == "FROM runtime AS cpu"
    assert "FROM runtime AS cuda" in froms


@pytest.mark.parametrize("name", ["build-cpu", "build-cuda"])
def test_both_targets_install_with_the_one_line_and_the_constraints(instructions: list[str], name: str) -> None:
    """Every pip install uses the constraints file, and the last one is the line everybody uses."""
    installs = [line for line in stage(instructions, name) if "pip install" in line]
    assert all("-c constraints.txt" in line for line in installs)
    assert INSTALL in installs[-1]


def test_only_the_cpu_target_names_the_cpu_wheel_index(instructions: list[str]) -> None:
    """PyTorch's CPU index feeds the CPU build, and no other package index appears in the file."""
    assert any("https://download.pytorch.org/whl/cpu" in line for line in stage(instructions, "build-cpu"))
    assert not any("index-url" in line for line in stage(instructions, "build-cuda"))
    hosts = set(re.findall(r"https?://([^/\s]+)", "\n".join(instructions)))
    assert hosts == {"download.pytorch.org"}


def test_the_container_runs_unprivileged_in_exec_form(instructions: list[str]) -> None:
    """The runtime stage sets the fixed uid, and entry point, command and health check are exec-form JSON."""
    runtime = stage(instructions, "runtime")
    assert f"USER {UID}:{UID}" in runtime
    for keyword in ("ENTRYPOINT ", "CMD "):
        value = next(line.removeprefix(keyword) for line in runtime if line.startswith(keyword))
        assert isinstance(json.loads(value), list)
    health = next(line for line in runtime if line.startswith("HEALTHCHECK "))
    assert "--start-period=60s" in health
    assert json.loads(health.partition(" CMD ")[2]) == ["python", "-m", "service.healthcheck"]


def test_home_and_caches_lie_in_the_data_volume(instructions: list[str]) -> None:
    """Whatever the process writes goes below /data, which the image creates for its uid."""
    variables = dict(
        re.findall(r"(\w+)=(\S+)", next(x for x in stage(instructions, "runtime") if x.startswith("ENV ")))
    )
    for name in ("LEVELSET_DATA", "HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "TORCH_HOME"):
        assert (variables[name] + "/").startswith("/data/"), name
    created = next(line for line in stage(instructions, "runtime") if "install -d" in line)
    assert f"-o {UID} -g {UID}" in created
    assert variables["MPLCONFIGDIR"] in created


def test_the_compose_file_follows_the_specification(compose: dict[str, Any]) -> None:
    """The resolved file passes the compose specification's own schema, which refuses unknown keys."""
    spec = pytest.importorskip("compose_spec", reason="compose-spec is not installed; the extra `dev` brings it")
    parsed = spec.PyCompose.from_yaml(resolved(compose))
    assert set(parsed.service_names()) == {"levelset", "gpu"}
    broken = {**compose, "services": {"levelset": {**compose["services"]["levelset"], "reed_only": True}}}
    with pytest.raises(ValueError, match="reed_only"):
        spec.PyCompose.from_yaml(resolved(broken))


def resolved(compose: dict[str, Any]) -> str:
    """Return the compose file as YAML without anchors and merge keys, which the validator does not read."""
    return json.dumps(compose)


@pytest.mark.parametrize("name", ["levelset", "gpu"])
def test_every_service_is_confined(compose: dict[str, Any], name: str) -> None:
    """No service can write its root, gain privileges, fork without bound or be reached from another machine."""
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["user"] == f"{UID}:{UID}"
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert 0 < service["pids_limit"] <= 4096
    assert all("size=" in mount for mount in service["tmpfs"])
    assert all(str(port).startswith("127.0.0.1:") for port in service["ports"])
    assert "privileged" not in service


@pytest.mark.parametrize("name", ["levelset", "gpu"])
def test_every_service_is_watched_and_stops_in_peace(compose: dict[str, Any], name: str) -> None:
    """Each service has the health check of the image, time to drain, bounded logs, and data in a named volume."""
    service = compose["services"][name]
    assert service["healthcheck"]["test"] == ["CMD", "python", "-m", "service.healthcheck"]
    assert service["stop_grace_period"] == "60s"
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    (volume,) = service["volumes"]
    assert volume["target"] == "/data"
    assert volume["source"] in compose["volumes"]


def test_the_gpu_service_is_opt_in_and_has_its_own_data(compose: dict[str, Any]) -> None:
    """The GPU service starts only with its profile, reserves one device, and shares neither port nor data folder."""
    cpu, gpu = compose["services"]["levelset"], compose["services"]["gpu"]
    assert "profiles" not in cpu
    assert gpu["profiles"] == ["gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert ("count" in device) != ("device_ids" in device)
    assert (cpu["build"]["target"], gpu["build"]["target"]) == ("cpu", "cuda")
    assert cpu["ports"] != gpu["ports"]
    assert cpu["volumes"][0]["source"] != gpu["volumes"][0]["source"]


def test_the_drain_fits_into_the_stop_period(compose: dict[str, Any]) -> None:
    """The service's own times to stop, added up, stay below what the container is given."""
    from service.settings import Settings

    given = int(compose["services"]["levelset"]["stop_grace_period"].removesuffix("s"))
    settings = Settings()
    assert settings.drain_delay + settings.drain_grace + settings.worker_grace < given


def test_compose_variables_are_settings_of_the_service(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables of every service are read by the settings, so that a renamed knob is noticed here."""
    from service.settings import Settings

    for name in ("levelset", "gpu"):
        for variable, value in compose["services"][name]["environment"].items():
            field = variable.removeprefix("LEVELSET_").lower()
            assert field in Settings.model_fields, variable
            monkeypatch.setenv(variable, value)
    monkeypatch.setenv("LEVELSET_HOST", "0.0.0.0")
    assert Settings().insecure is False
    assert "localhost" in (Settings().host_names or ())


def test_a_key_of_ones_own_is_a_secret(compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The override mounts one file, which the service reads as its key; without it compose needs no file at all."""
    from service.settings import Settings

    override = yaml.safe_load((ROOT / "deploy" / "compose.secret.yml").read_text())
    assert "secrets" not in compose
    (name,) = override["secrets"]
    assert set(override["services"]) == set(compose["services"])
    for service in override["services"].values():
        assert service["secrets"] == [name]
        monkeypatch.setenv("LEVELSET_KEY_FILE", service["environment"]["LEVELSET_KEY_FILE"])
        assert Settings().key_file == Path("/run/secrets") / name
    merged = {**compose, **{key: override[key] for key in ("secrets",)}}
    merged["services"] = {
        key: {**compose["services"][key], **value, "environment": {**compose["services"][key]["environment"]}}
        for key, value in override["services"].items()
    }
    spec = pytest.importorskip("compose_spec", reason="compose-spec is not installed; the extra `dev` brings it")
    spec.PyCompose.from_yaml(resolved(merged))
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert override["secrets"][name]["file"].removeprefix("./") in ignored


def test_only_sources_reach_the_builder() -> None:
    """The ignore file leaves everything out and lets in exactly what the Dockerfile copies."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = set()
    for line in DOCKERFILE.read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    assert let_in == copied
    for secret in (".git", ".venv", "var", ".env", "tests"):
        assert not any(fnmatch(secret, pattern) for pattern in let_in)
