"""The settings of the server, read from the container's environment.

The fields of `Settings` are the only list of the environment variables: each field names its
variable, its default, and what a value has to look like.
"""

# ruff: noqa: RUF009 - a function of this module makes each field; no default can be changed

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mlflow_model_server import compat

_MAX_QUOTED = 100  # characters of a wrong value that the message repeats
# Of models' files, as ALLOWED_FORMATS names them.
FORMATS = (
    *("onnx", "safetensors", "skops", "xgboost", "lightgbm", "catboost", "tensorflow", "keras"),
    *("torch-export", "pickle", "code"),
)


class SettingsError(ValueError):
    """A variable with a value that can't be used; the message says what to write instead."""


def _variable(name: str, default: Any, parse: Callable[[str], Any] = str) -> Any:
    """A field that is read from the variable `name`.

    `parse` raises ValueError with what to write instead: "a whole number of at least 1, like 2".
    """
    return field(default=default, metadata={"variable": name, "parse": parse})


def _integer(name: str, default: int, minimum: int = 0) -> Any:
    def parse(text: str) -> int:
        # isdecimal() accepts digits of all scripts, and int() limits their number.
        if not (text.isascii() and text.isdecimal() and len(text) <= 18) or int(text) < minimum:
            raise ValueError(f"a whole number of at least {minimum}, like {default}")
        return int(text)

    return _variable(name, default, parse)


def _port(name: str, default: int, minimum: int = 0) -> Any:
    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else -1
        if not minimum <= number <= 65535:
            raise ValueError(f"a port from {minimum} to 65535, like {default or 8081}")
        return number

    return _variable(name, default, parse)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _positive(name: str) -> Any:
    def parse(text: str) -> float:
        number = _number(text)
        if not 0 < number < math.inf:
            raise ValueError("a number above 0, like 50")
        return number

    return _variable(name, None, parse)


def _ratio(name: str, default: float) -> Any:
    def parse(text: str) -> float:
        number = _number(text)
        if not 0 <= number <= 1:
            raise ValueError("a ratio from 0 to 1, like 0.01")
        return number

    return _variable(name, default, parse)


def _switch(name: str, default: bool) -> Any:
    def parse(text: str) -> bool:
        if text.lower() not in ("true", "1", "false", "0"):
            raise ValueError("true or false")
        return text.lower() in ("true", "1")

    return _variable(name, default, parse)


def _choice(name: str, default: str, *others: str) -> Any:
    choices = (default, *others)

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{', '.join(choices[:-1])} or {choices[-1]}")
        return text

    return _variable(name, default, parse)


def _auto_or_off(text: str) -> bool:
    if text not in ("auto", "off"):
        raise ValueError("auto or off")
    return text == "auto"


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _formats(text: str) -> tuple[str, ...]:
    names = _words(text)
    # None would mean that all are allowed.
    if not names or not set(names) <= set(FORMATS):
        raise ValueError(f"some of {' '.join(FORMATS)}, separated by spaces")
    return names


def _unix_time(text: str) -> float:
    """From a number of seconds, or of milliseconds as MLflow has them, or from ISO 8601."""
    number = _number(text)
    if math.isfinite(number):
        return number / 1000 if number > 1e11 else number
    try:
        moment = compat.moment(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=compat.UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("Unix time, or a time like 2026-01-31T12:00:00Z") from None


@dataclass(frozen=True)
class Settings:
    """All settings, and the variables that they are read from."""

    model_uri: str = _variable("MODEL_URI", "")  # the model to download
    model_dir: Path = _variable("MODEL_DIR", Path("/model"), Path)  # the folder to put it into
    # The package index; None: uv's default.
    index_url: str | None = _variable("INDEX_URL", None)
    # The administrator's, which INDEX_URL overrides.
    default_index_url: str | None = _variable("DEFAULT_INDEX_URL", None)
    # Folders or pages of wheels, with spaces between.
    find_links: tuple[str, ...] = _variable("FIND_LINKS", (), _words)
    # Names, with spaces between, of variables that a model's requirements may use.
    requirements_env: tuple[str, ...] = _variable("REQUIREMENTS_ENV", (), _words)
    no_index: bool = _switch("NO_INDEX", False)  # install packages from FIND_LINKS only
    # Let requirements name URLs and repositories where INDEX_URL or NO_INDEX is set.
    allow_direct_urls: bool = _switch("ALLOW_DIRECT_URLS", False)
    # Build packages that have no wheel, which runs their code in the prepare step.
    allow_source_builds: bool = _switch("ALLOW_SOURCE_BUILDS", False)
    # Load models that may bring code with them, as pickles do; MLflow's own name.
    allow_pickle: bool = _switch("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", True)
    # Whose signature the model must have, as JSON (prepare/signature.py); "": nobody's.
    model_signatures: str = _variable("MODEL_SIGNATURES", "")
    require_hashes: bool = _switch("REQUIRE_HASHES", False)  # of each package that is installed
    # The formats that a model's files may have; none: any.
    allowed_formats: tuple[str, ...] = _variable("ALLOWED_FORMATS", (), _formats)
    # A PEM file of certificates that are trusted besides the public authorities.
    ca_bundle: Path | None = _variable("CA_BUNDLE", None, Path)
    workers: int = _integer("WORKERS", 1, minimum=1)
    port: int = _port("PORT", 8080, minimum=1)
    grpc_port: int = _port("GRPC_PORT", 0)  # 0: no gRPC
    shutdown_timeout: int = _integer("SHUTDOWN_TIMEOUT", 30)  # seconds for requests in flight
    # Predict scikit-learn models by ONNX Runtime where its predictions are the same.
    onnx: bool = _switch("ONNX", False)
    termination_log: Path = _variable("TERMINATION_LOG", Path("/dev/termination-log"), Path)

    # For inference/ and http/.
    batching: str = _choice("BATCHING", "auto", "on", "off")
    # Of a request's body; 0: a 128th of the container's memory limit, at most 64 MiB.
    max_body_bytes: int = _integer("MAX_BODY_BYTES", 0)
    # Of all bodies in flight in one process; 0: a quarter of the container's memory limit.
    max_bytes_in_flight: int = _integer("MAX_BYTES_IN_FLIGHT", 0)
    grpc_max_message_bytes: int = _integer("GRPC_MAX_MESSAGE_BYTES", 4 * 2**20, minimum=1)
    max_connections: int = _integer("MAX_CONNECTIONS", 1024, minimum=1)  # of one process
    max_rows: int = _integer("MAX_ROWS", 100_000, minimum=1)  # of one request
    # Of one request, beside those of the signature.
    max_columns: int = _integer("MAX_COLUMNS", 20_000, minimum=1)
    # In one process, of models that are not predicted in batches; 0: 256 for agents and models that
    # stream, else the number of CPUs + 4, at most 32.
    max_concurrent_predictions: int = _integer("MAX_CONCURRENT_PREDICTIONS", 0)
    max_queue: int = _integer("MAX_QUEUE", 512, minimum=1)  # requests in flight in one process
    # Seconds for which no prediction has ended, beyond their timeout, until the liveness probe
    # fails; 0: it does not.
    stuck_restart_after: int = _integer("STUCK_RESTART_AFTER", 300)
    # Seconds; MLflow's own name.
    request_timeout: int = _integer("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", 60, minimum=1)

    stream_timeout: int = _integer("STREAM_TIMEOUT", 600, minimum=1)  # seconds, of all of a stream
    # Predict the model's own input example before the server listens, and end where that fails.
    input_example: str = _choice("INPUT_EXAMPLE", "off", "if-present", "required")
    input_example_timeout: int = _integer("INPUT_EXAMPLE_TIMEOUT", 30, minimum=1)  # seconds
    # MLflow's traces of the model's code: where MLflow's own variables say where; off: nowhere.
    traces: str = _choice("TRACES", "auto", "off")
    # Of a request's body; requests with larger ones are not traced.
    trace_max_body_bytes: int = _integer("TRACE_MAX_BODY_BYTES", 256 * 2**10, minimum=1)

    # For metrics/, drift/ and request_log.py. The first three are labels of all metrics.
    model_name: str = _variable("MODEL_NAME", "")
    model_version: str = _variable("MODEL_VERSION", "")
    revision: str = _variable("REVISION", "")
    # Unix time; None: the time in the MLmodel file.
    model_created: float | None = _variable("MODEL_CREATED", None, _unix_time)
    metrics_port: int = _port("METRICS_PORT", 9090)  # 0: no metrics
    request_log: str = _variable("REQUEST_LOG", "off")  # off, stdout, or a path
    request_log_sample: float = _ratio("REQUEST_LOG_SAMPLE", 1.0)
    request_log_bodies: bool = _switch("REQUEST_LOG_BODIES", False)
    # Of all files together.
    request_log_max_bytes: int = _integer("REQUEST_LOG_MAX_BYTES", 100 * 2**20, minimum=65536)
    drift: bool = _variable("DRIFT", True, _auto_or_off)
    # For models without a baseline of their own.
    drift_baseline_rows: int = _integer("DRIFT_BASELINE_ROWS", 1000, minimum=100)

    # The column of requests that says when their features were computed; None: there is none.
    staleness_column: str | None = _variable("STALENESS_COLUMN", None)
    # For shadow/: a JSON file that names a version to copy requests to; it may come and go.
    shadow_file: Path | None = _variable("SHADOW_FILE", None, Path)

    # For auth/.
    api_keys_file: Path | None = _variable("API_KEYS_FILE", None, Path)
    jwks_url: str | None = _variable("JWKS_URL", None)  # the key set of the issuer of JWTs
    jwks_allow_http: bool = _switch("JWKS_ALLOW_HTTP", False)
    # Seconds after which keys that could not be fetched again are not used any more.
    jwks_max_age: int = _integer("JWKS_MAX_AGE", 6 * 3600, minimum=600)
    jwt_issuer: str | None = _variable("JWT_ISSUER", None)
    jwt_audience: str | None = _variable("JWT_AUDIENCE", None)
    # The subjects whose tokens are accepted, separated by spaces; none: those of any.
    jwt_subjects: tuple[str, ...] = _variable("JWT_SUBJECTS", (), _words)
    rate_limit: float | None = _positive("RATE_LIMIT")  # requests per second and caller
    rate_burst: float | None = _positive("RATE_BURST")  # None: twice RATE_LIMIT

    @property
    def forbids_pickle(self) -> bool:
        """Whether pickles are not among the formats that a model's files may have."""
        return bool(self.allowed_formats) and "pickle" not in self.allowed_formats

    @property
    def artifact(self) -> Path:
        """The folder of the model itself, with its MLmodel file."""
        return self.model_dir / "artifact"

    @property
    def packages(self) -> Path:
        """The packages that were installed for the model; they go before the image's own."""
        return self.model_dir / "packages"

    @property
    def converted(self) -> Path:
        """The result of the model's conversion to ONNX, and the converted model if it is used."""
        return self.model_dir / "converted"

    @property
    def onnx_packages(self) -> Path:
        """Packages for the conversion that neither the image nor the model's packages have."""
        return self.converted / "packages"

    @property
    def trusted(self) -> Path:
        """All certificates to trust, where there is a `ca_bundle`."""
        return self.model_dir / "trusted.crt"


VARIABLES: dict[str, str] = {each.metadata["variable"]: each.name for each in fields(Settings)}
"""The name of each environment variable, and of the field that it sets."""


def from_environment(env: Mapping[str, str] = os.environ) -> Settings:
    """Reads the settings; a variable that is not set, or is empty, has its default.

    Raises SettingsError with a sentence that names the variable and a right value.
    """
    values = {
        each.name: _parsed(each.metadata["variable"], each.metadata["parse"], text)
        for each in fields(Settings)
        if (text := env.get(each.metadata["variable"]))
    }
    settings = Settings(**values)
    settings = replace(settings, index_url=settings.index_url or settings.default_index_url)
    _check_jwt(settings)
    return _named_by_uri(settings)


def _parsed(name: str, parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise SettingsError(f"{name} is {_quoted(text)}: write {error}") from None


def _quoted(text: str) -> str:
    """The beginning of a wrong value, without the user and password of a URL."""
    shown = re.sub(r"(?<=//)[^/@\s]{1,1000}@", "***@", text)
    return repr(shown if len(shown) <= _MAX_QUOTED else f"{shown[:_MAX_QUOTED]}…")


def _check_jwt(settings: Settings) -> None:
    url = settings.jwks_url
    if url is None:
        if settings.jwt_subjects:
            raise SettingsError(
                "JWT_SUBJECTS is set without JWKS_URL: write the URL of the issuer's "
                "key set, otherwise no token is required"
            )
        return
    if not url.startswith(("https://", "http://")):
        raise SettingsError(
            f"JWKS_URL is {_quoted(url)}: write the URL of a key set, like "
            "https://issuer.example.com/.well-known/jwks.json"
        )
    if not url.startswith("https://") and not settings.jwks_allow_http:
        raise SettingsError(
            f"JWKS_URL is {_quoted(url)}: write an https URL, because anyone who can "
            "change the keys in transit can forge tokens; or set "
            "JWKS_ALLOW_HTTP=true"
        )
    for name, value, claim in (
        ("JWT_ISSUER", settings.jwt_issuer, "iss"),
        ("JWT_AUDIENCE", settings.jwt_audience, "aud"),
    ):
        if not value:
            raise SettingsError(
                f"JWKS_URL is set without {name}: write the {claim} of tokens for this "
                "server, otherwise any token of that issuer would be accepted"
            )


def _named_by_uri(settings: Settings) -> Settings:
    """Name and version of a registered model are in its URI: models:/<name>/<version>."""
    scheme, _, path = settings.model_uri.partition(":/")
    name, _, version = path.rpartition("/")
    if scheme != "models" or not version.isdecimal():
        return settings
    return replace(
        settings,
        model_name=settings.model_name or name,
        model_version=settings.model_version or version,
    )
