"""Every knob of the service, with its default and its unit; read from `LEVELSET_*` variables and a TOML file."""

import ipaddress
import json
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

PREFIX = "LEVELSET_"
_PATH_SAFE = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,95}$"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

ServingMode = Literal["prob", "logit", "vote", "random_member"]
AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class Settings(BaseSettings):
    """Frozen settings of one service: arguments win over the environment, and that over `LEVELSET_SETTINGS_FILE`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data: AbsolutePath = Field(Path("var"), validate_default=True, description="folder of models, jobs, reports")
    host: str = Field("127.0.0.1", description="address the web process binds")
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 lets the system choose one")
    insecure: bool = Field(False, description="allow an address beyond loopback although no key guards it")
    allowed_hosts: tuple[str, ...] = Field((), description="further host names a request may carry")
    key_file: AbsolutePath | None = Field(None, description="file with one more key of every scope: a mounted secret")
    key_rate: float = Field(200.0, gt=0, description="requests per second and key; above: 429")
    key_burst: float = Field(2.0, gt=0, description="seconds of that rate a key may use at once")
    wrong_key_rate: float = Field(1.0, gt=0, description="wrong keys a second and address, 20 at once; above: 429")
    api_key: SecretStr | None = Field(
        None, exclude=True, description="key that the command line shows to a service it talks to"
    )
    settings_file: AbsolutePath | None = Field(
        None, exclude=True, description="TOML file with any of these settings, in small letters; variables win over it"
    )
    database: str | None = Field(None, description="SQLAlchemy URL; unset: one SQLite file in the data folder")
    datasets: dict[str, str] = Field({}, description="data sets offered besides the built-in ones: name -> key")
    dataset_root: AbsolutePath | None = Field(
        None, description="folder of the built-in data sets; unset: data/datasets"
    )

    device: str = Field("cpu", description="torch device of inference and of the worker")
    threads: int = Field(1, ge=1, description="torch threads per process")
    max_rows: int = Field(64, ge=1, description="rows one execution takes at most")
    max_request_rows: int = Field(1024, ge=1, description="rows one request may hold; above: 413")
    queue_rows: int = Field(4096, ge=1, description="rows that may wait per model; above: 429")
    queue_bytes: int = Field(256 << 20, ge=1, description="bytes that may wait per model; above: 429")
    max_body_bytes: int = Field(64 << 20, ge=1024, description="bytes of one inference body; above: 413")
    max_job_bytes: int = Field(256 << 10, ge=1024, description="bytes of one job's specification; above: 413")
    offload_bytes: int = Field(1 << 20, ge=0, description="bodies above this many bytes are parsed off the event loop")
    queue_timeout: float = Field(30.0, gt=0, le=30, description="seconds a request may wait; then 504")
    max_queue_delay: float = Field(0.0, ge=0, le=1, description="seconds an idle device may wait for company")
    body_timeout: float = Field(
        30.0, gt=0, description="seconds a body may take to arrive; uploads: 1 s more per 64 KiB"
    )
    serving_modes: dict[str, ServingMode] = Field(
        {}, description="how an ensemble's members become one answer: name -> prob, logit, vote or random_member"
    )
    triton_metrics: bool = Field(False, description="repeat the counters under the names of Triton's dashboards")
    log_format: Literal["text", "json"] = Field("text", description="form of the log: text or json")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="least level that is logged; every request at info"
    )
    model_poll: float = Field(1.0, gt=0, description="seconds between looks into the model folder")

    engine: Literal["local", "ray"] = Field("local", description="where shards run: a child process, or Ray")
    address: str | None = Field(None, description="host:port of Ray's head; unset: a Ray of this host alone")
    worker: str = Field("worker-0", pattern=_PATH_SAFE, description="name of this worker's slot; never shared")
    job_concurrency: int = Field(4, ge=1, description="jobs one worker interleaves, shard by shard")
    job_poll: float = Field(0.25, gt=0, description="seconds between looks into the job queue")
    max_job_samples: int = Field(50_000, ge=1, description="samples one evaluation may judge")
    max_open_jobs: int = Field(1000, ge=1, description="unfinished jobs; above: 429")
    worker_lease: float = Field(
        30.0, gt=0, description="seconds without a sign of life after which a worker's jobs go to another one"
    )
    cancel_grace: float = Field(5.0, ge=0, description="seconds a running shard gets to stop")
    max_open_jobs_per_owner: int | None = Field(None, ge=1, description="unfinished jobs of one owner; unset: no limit")
    shard_timeout: float = Field(3600.0, gt=0, description="seconds one shard may run; then its process is killed")
    disk_floor: int = Field(256 << 20, ge=0, description="free bytes below which new jobs and models get 429")
    keep_days: float = Field(0.0, ge=0, description="days after which finished jobs are forgotten; 0: never")
    max_model_bytes: int = Field(2 << 30, ge=1024, description="bytes of one uploaded base network; above: 413")
    max_bases: int = Field(1000, ge=1, description="stored base networks; above: 429")
    max_streams: int = Field(64, ge=1, description="event streams open at once; above: 429")
    max_streams_per_owner: int = Field(32, ge=1, description="event streams of one owner open at once; above: 429")

    drain_delay: float = Field(0.0, ge=0, description="seconds between 'not ready' and refusing work")
    drain_grace: float = Field(20.0, ge=0, description="seconds admitted requests get to finish at a stop")
    worker_grace: float = Field(10.0, ge=0, description="seconds the worker gets to stop")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return where settings are looked for, the strongest place first."""
        named = os.environ.get(f"{PREFIX}SETTINGS_FILE")
        if not named:
            return init_settings, env_settings
        path = Path(named).expanduser()
        if not path.is_file():
            raise ValueError(f"{PREFIX}SETTINGS_FILE: expected a TOML file, got {named!r}; correct the path")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    @field_validator("device")
    @classmethod
    def _device_is_named(cls, device: str) -> str:
        kind = device.partition(":")[0]
        if kind not in ("cpu", "cuda"):
            raise ValueError(f"device: expected 'cpu', 'cuda' or 'cuda:<n>', got {device!r}")
        return device

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the one database."""
        return self.database or f"sqlite:///{self.data / 'levelset.sqlite'}"

    @property
    def models_folder(self) -> Path:
        """Folder of the model repository."""
        return self.data / "models"

    @property
    def bases_folder(self) -> Path:
        """Folder of the uploaded base networks."""
        return self.data / "bases"

    @property
    def artifacts_folder(self) -> Path:
        """Folder of shard results and report files."""
        return self.data / "artifacts"

    @property
    def datasets_folder(self) -> Path:
        """Folder in which the built-in data sets lie or are downloaded to by the command line."""
        return self.dataset_root or self.data / "datasets"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def host_names(self) -> frozenset[str] | None:
        """Host names a request may carry; None where the operator opened the service and named none."""
        if not self.is_loopback and not self.allowed_hosts:
            return None
        return frozenset(name.lower() for name in (*_LOOPBACK_NAMES, self.host, *self.allowed_hosts))

    def to_environment(self) -> dict[str, str]:
        """Return the `LEVELSET_*` variables from which a child process reads these same settings."""
        fields = self.model_dump(mode="json", exclude_none=True)
        return {f"{PREFIX}{name.upper()}": _as_variable(value) for name, value in fields.items()}


def _as_variable(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
