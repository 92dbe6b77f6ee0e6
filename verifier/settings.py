"""Settings of a server or of an embedded service: read once, handed on as values."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from verifier.errors import InvalidProblem

ENVIRONMENT_PREFIX = "VERIFIER_"


def default_data_dir() -> Path:
    """$XDG_DATA_HOME/verifier, or ~/.local/share/verifier."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "verifier"


@dataclass(frozen=True)
class Settings:
    """Everything that can be chosen at start.

    Args:
        listen: HOST:PORT of the gRPC server; port 0 takes a free one.
        data_dir: where models and tuned batch shapes are kept.
        device: "auto", "cpu" or "cuda:N".
        form: executed form of models: "torchscript", "eager", "inductor", or "" for the device's default.
        max_pending_passes: forward passes admitted at once, over all requests.
        max_model_bytes: of an uploaded file.
        max_dataset_bytes: of an uploaded data set's inputs and labels.
        database_url: PostgreSQL, postgresql://USER:PASSWORD@HOST:PORT/DATABASE, instead of a file of the data
            directory. Servers on one database share jobs, and have to share the data directory, where the files are.
        run_jobs: whether the server works on jobs.
        lease_seconds: after which without a sign of life another server takes a job over.
        repeated_attempts: what becomes of a further attempt on an input, with another seed or method: "count" it into
            the alpha that its certificates state, or "refuse" it.
        tls_cert, tls_key: PEM files of the server's certificate; both or none.
        tls_client_ca: PEM file; clients must then show a certificate that it signed.
        channelz: whether the channelz service is offered.
        drain_seconds: how long a stopping server lets running calls finish.
    Raises:
        InvalidProblem: a value out of its range.
    """

    listen: str = "127.0.0.1:50051"
    data_dir: Path | None = None
    device: str = "auto"
    form: str = ""
    max_pending_passes: int = 1_000_000_000
    max_model_bytes: int = 2**30
    max_dataset_bytes: int = 2**38
    database_url: str = field(default="", repr=False)
    run_jobs: bool = True
    lease_seconds: float = 30.0
    repeated_attempts: str = "count"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    channelz: bool = False
    drain_seconds: float = 10.0

    def __post_init__(self) -> None:
        if bool(self.tls_cert) != bool(self.tls_key) or (self.tls_client_ca and not self.tls_cert):
            raise InvalidProblem("TLS needs a certificate and its key; a client CA needs both", field="tls_cert")
        if self.repeated_attempts not in ("count", "refuse"):
            raise InvalidProblem(
                f"repeated_attempts must be count or refuse, got {self.repeated_attempts!r}", field="repeated_attempts"
            )
        if not 1 <= self.lease_seconds <= 3600:
            raise InvalidProblem(f"lease_seconds must be in 1..3600, got {self.lease_seconds}", field="lease_seconds")
        for name in ("max_pending_passes", "max_model_bytes", "max_dataset_bytes"):
            if getattr(self, name) < 1:
                raise InvalidProblem(f"{name} must be >= 1, got {getattr(self, name)}", field=name)

    @classmethod
    def read(cls, file: Path | None = None, environment: Mapping[str, str] | None = None, **chosen: Any) -> "Settings":
        """Settings from what was chosen, else VERIFIER_* variables, else the TOML file, else the defaults.

        Values of `chosen` that are None count as not chosen.
        """
        values = _read_toml(file) if file else {}
        environment = os.environ if environment is None else environment
        known = {item.name: item.type for item in fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InvalidProblem(f"unknown settings in {file}: {', '.join(unknown)}; known: {', '.join(known)}")
        for name in known:
            if (text := environment.get(ENVIRONMENT_PREFIX + name.upper())) is not None:
                values[name] = text
        values |= {name: value for name, value in chosen.items() if value is not None}
        return cls(**{name: _typed(name, known[name], value) for name, value in values.items()})


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidProblem(f"cannot read settings from {file}: {error}", field="config") from None


def _typed(name: str, kind: Any, value: Any) -> Any:
    try:
        if kind is bool:
            return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
        if kind in (int, float, str):
            return kind(value)
        return Path(value)
    except (KeyError, ValueError, TypeError):
        raise InvalidProblem(
            f"setting {name} must be {getattr(kind, '__name__', 'a path')}, got {value!r}", field=name
        ) from None
