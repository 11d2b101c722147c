"""What the pod's environment says."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class SettingsError(ValueError):
    """A variable that cannot be used; the message says what to write instead."""


@dataclass(frozen=True)
class Settings:
    """The environment variables that the operator sets in the containers."""

    model_uri: str = ""  # MODEL_URI: what to fetch
    model_dir: Path = Path("/model")  # MODEL_DIR: where it goes
    index_url: str | None = None  # INDEX_URL: the package index; None: uv's default
    find_links: tuple[str, ...] = ()  # FIND_LINKS: folders or pages of wheels, with spaces between
    # REQUIREMENTS_ENV: names, with spaces between, of variables that a model's requirements may use
    requirements_env: tuple[str, ...] = ()
    no_index: bool = False  # NO_INDEX: take packages from FIND_LINKS only
    ca_bundle: Path | None = None  # CA_BUNDLE: a PEM file, trusted beside the public authorities
    workers: int = 1  # WORKERS
    port: int = 8080  # PORT
    grpc_port: int = 0  # GRPC_PORT; 0: none
    shutdown_timeout: int = 30  # SHUTDOWN_TIMEOUT: seconds for requests in flight
    onnx: bool = False  # ONNX: predict scikit-learn models by ONNX Runtime where it answers alike
    termination_log: Path = Path("/dev/termination-log")  # TERMINATION_LOG
    # What inference/ and http/ need
    batching: str = "auto"  # BATCHING: auto, on or off
    max_body_bytes: int = 64 * 2**20  # MAX_BODY_BYTES
    max_rows: int = 100_000  # MAX_ROWS: of one request
    max_queue: int = 512  # MAX_QUEUE: requests in flight in one process
    request_timeout: int = 60  # MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT: seconds
    # What metrics/, drift/ and request_log.py need
    model_name: str = ""  # MODEL_NAME: a label of all metrics, as are the next two
    model_version: str = ""  # MODEL_VERSION
    revision: str = ""  # REVISION
    model_created: float | None = None  # MODEL_CREATED: Unix time; None: what MLmodel says
    metrics_port: int = 9090  # METRICS_PORT; 0: none
    request_log: str = "off"  # REQUEST_LOG: off, stdout, or a path
    request_log_sample: float = 1.0  # REQUEST_LOG_SAMPLE: the share of requests
    request_log_bodies: bool = False  # REQUEST_LOG_BODIES: bodies too
    request_log_max_bytes: int = 100 * 2**20  # REQUEST_LOG_MAX_BYTES: on disk, all together
    drift: bool = True  # DRIFT: auto or off
    drift_baseline_rows: int = 1000  # DRIFT_BASELINE_ROWS: where the model brings no baseline
    # What auth/ needs
    api_keys_file: Path | None = None  # API_KEYS_FILE: bearer keys, one a line
    jwks_url: str | None = None  # JWKS_URL: keys of who issues JWTs
    jwt_issuer: str | None = None  # JWT_ISSUER
    jwt_audience: str | None = None  # JWT_AUDIENCE
    rate_limit: float | None = None  # RATE_LIMIT: requests a second for each key; None: none
    rate_burst: float | None = None  # RATE_BURST: at once after a pause; None: two seconds' worth

    @property
    def artifact(self) -> Path:
        """The folder of the model itself, with its MLmodel file."""
        return self.model_dir / "artifact"

    @property
    def packages(self) -> Path:
        """What was installed for the model; goes before the image's own packages."""
        return self.model_dir / "packages"

    @property
    def converted(self) -> Path:
        """What became of the model's conversion to ONNX: a note, and the model if it is used."""
        return self.model_dir / "converted"

    @property
    def onnx_packages(self) -> Path:
        """What the conversion needs, and neither the image nor the model's packages have."""
        return self.converted / "packages"

    @property
    def trusted(self) -> Path:
        """All certificates to trust, where there is a `ca_bundle`."""
        return self.model_dir / "trusted.crt"


def from_environment(env: Mapping[str, str] = os.environ) -> Settings:
    """Reads the settings; what is not set, or empty, has its default.

    Raises SettingsError with a sentence that names the variable and a right value.
    """
    bundle = env.get("CA_BUNDLE")
    return Settings(
        model_uri=env.get("MODEL_URI", ""),
        model_dir=Path(env.get("MODEL_DIR") or Settings.model_dir),
        index_url=env.get("INDEX_URL") or None,
        find_links=tuple(env.get("FIND_LINKS", "").split()),
        requirements_env=tuple(env.get("REQUIREMENTS_ENV", "").split()),
        no_index=_switch(env, "NO_INDEX"),
        ca_bundle=Path(bundle) if bundle else None,
        workers=_whole(env, "WORKERS", Settings.workers, least=1),
        port=_whole(env, "PORT", Settings.port, least=1),
        grpc_port=_whole(env, "GRPC_PORT", Settings.grpc_port, least=0),
        shutdown_timeout=_whole(env, "SHUTDOWN_TIMEOUT", Settings.shutdown_timeout, least=0),
        onnx=_switch(env, "ONNX"),
        termination_log=Path(env.get("TERMINATION_LOG") or Settings.termination_log),
        **_limits(env),
        **_observed(env),
        **_guarded(env),
    )


def _limits(env: Mapping[str, str]) -> dict[str, Any]:
    batching = env.get("BATCHING") or Settings.batching
    if batching not in ("auto", "on", "off"):
        raise SettingsError(f"BATCHING is {batching!r}: write auto, on or off")
    timeout = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"  # MLflow's own name
    return {
        "batching": batching,
        "max_body_bytes": _whole(env, "MAX_BODY_BYTES", Settings.max_body_bytes, least=1),
        "max_rows": _whole(env, "MAX_ROWS", Settings.max_rows, least=1),
        "max_queue": _whole(env, "MAX_QUEUE", Settings.max_queue, least=1),
        "request_timeout": _whole(env, timeout, Settings.request_timeout, least=1),
    }


def _observed(env: Mapping[str, str]) -> dict[str, Any]:
    drift = env.get("DRIFT") or "auto"
    if drift not in ("auto", "off"):
        raise SettingsError(f"DRIFT is {drift!r}: write auto or off")
    return {
        "model_name": env.get("MODEL_NAME") or _registered(env)[0],
        "model_version": env.get("MODEL_VERSION") or _registered(env)[1],
        "revision": env.get("REVISION", ""),
        "model_created": _time(env, "MODEL_CREATED"),
        "metrics_port": _whole(env, "METRICS_PORT", Settings.metrics_port, least=0),
        "request_log": env.get("REQUEST_LOG") or Settings.request_log,
        "request_log_sample": _share(env, "REQUEST_LOG_SAMPLE", Settings.request_log_sample),
        "request_log_bodies": _switch(env, "REQUEST_LOG_BODIES"),
        "request_log_max_bytes": _whole(
            env, "REQUEST_LOG_MAX_BYTES", Settings.request_log_max_bytes, least=65536
        ),
        "drift": drift == "auto",
        "drift_baseline_rows": _whole(
            env, "DRIFT_BASELINE_ROWS", Settings.drift_baseline_rows, least=100
        ),
    }


def _registered(env: Mapping[str, str]) -> tuple[str, str]:
    """Name and version of a registered model, by its MODEL_URI: models:/<name>/<version>."""
    name, _, version = env.get("MODEL_URI", "").removeprefix("models:/").rpartition("/")
    known = env.get("MODEL_URI", "").startswith("models:/") and version.isdecimal()
    return (name, version) if known else ("", "")


def _guarded(env: Mapping[str, str]) -> dict[str, Any]:
    keys, jwks = env.get("API_KEYS_FILE"), env.get("JWKS_URL") or None
    if jwks is not None and not jwks.startswith(("https://", "http://")):
        raise SettingsError(
            f"JWKS_URL is {jwks!r}: write the URL of a key set, like "
            "https://issuer.example.com/.well-known/jwks.json"
        )
    for name in ("JWT_ISSUER", "JWT_AUDIENCE"):
        if jwks is not None and not env.get(name):
            raise SettingsError(
                f"JWKS_URL is set without {name}: write what tokens for this server have as their "
                f"{'iss' if name == 'JWT_ISSUER' else 'aud'}, else any of that issuer would do"
            )
    return {
        "api_keys_file": Path(keys) if keys else None,
        "jwks_url": jwks,
        "jwt_issuer": env.get("JWT_ISSUER") or None,
        "jwt_audience": env.get("JWT_AUDIENCE") or None,
        "rate_limit": _above_zero(env, "RATE_LIMIT"),
        "rate_burst": _above_zero(env, "RATE_BURST"),
    }


def _whole(env: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise SettingsError(
            f"{name} is {text!r}: write a whole number of at least {least}, like {default}"
        )
    return int(text)


def _switch(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "").lower()
    if text in ("", "false", "0"):
        return False
    if text in ("true", "1"):
        return True
    raise SettingsError(f"{name} is {text!r}: write true or false")


def _number(env: Mapping[str, str], name: str, instead: str) -> float | None:
    text = env.get(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise SettingsError(f"{name} is {text!r}: write {instead}")
    return number


def _above_zero(env: Mapping[str, str], name: str) -> float | None:
    instead = "a number above 0, like 50"
    number = _number(env, name, instead)
    if number is not None and number <= 0:
        raise SettingsError(f"{name} is {env[name]!r}: write {instead}")
    return number


def _share(env: Mapping[str, str], name: str, default: float) -> float:
    instead = "a share from 0 to 1, like 0.01"
    number = _number(env, name, instead)
    if number is not None and not 0 <= number <= 1:
        raise SettingsError(f"{name} is {env[name]!r}: write {instead}")
    return default if number is None else number


def _time(env: Mapping[str, str], name: str) -> float | None:
    """Unix time from a number of seconds, or of milliseconds as MLflow has them, or ISO 8601."""
    text = env.get(name)
    if not text:
        return None
    try:
        number = float(text)
        return number / 1000 if number > 1e11 else number
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"{name} is {text!r}: write Unix time, or a moment like 2026-01-31T12:00:00Z"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
