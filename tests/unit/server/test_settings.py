from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from mlflow_model_server.settings import VARIABLES, Settings, SettingsError, from_environment

README = Path(__file__).parents[3] / "scoring" / "README.md"


def test_a_variable_that_is_not_set_has_its_default() -> None:
    assert from_environment({}) == Settings()


def test_an_empty_variable_counts_as_not_set() -> None:
    assert from_environment(dict.fromkeys(VARIABLES, "")) == Settings()


def test_the_readme_lists_all_variables() -> None:
    listed = re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \|", README.read_text(), re.MULTILINE)
    names = {name for cell in listed for name in re.findall(r"`(\w+)`", cell)}
    assert set(VARIABLES) <= names
    assert names - set(VARIABLES) == {"MLFLOW_TRACKING_URI", "SERVING_MODEL_CONFIG"}


def test_each_variable_sets_a_field_of_its_own() -> None:
    assert len(VARIABLES) == len(fields(Settings))


def test_all_variables_are_read() -> None:
    read = from_environment(
        {
            "MODEL_URI": "models:/wine/3",
            "MODEL_DIR": "/m",
            "INDEX_URL": "https://packages.example.com/simple",
            "FIND_LINKS": "/wheels https://example.com/wheels",
            "NO_INDEX": "true",
            "CA_BUNDLE": "/ca/ca.crt",
            "WORKERS": "2",
            "PORT": "9000",
            "SHUTDOWN_TIMEOUT": "7",
            "TERMINATION_LOG": "/tmp/log",
        }
    )
    assert read == Settings(
        model_uri="models:/wine/3",
        model_dir=Path("/m"),
        index_url="https://packages.example.com/simple",
        find_links=("/wheels", "https://example.com/wheels"),
        no_index=True,
        ca_bundle=Path("/ca/ca.crt"),
        workers=2,
        port=9000,
        shutdown_timeout=7,
        termination_log=Path("/tmp/log"),
        model_name="wine",
        model_version="3",
    )


def test_variables_of_metrics_and_auth_are_read() -> None:
    read = from_environment(
        {
            "MODEL_NAME": "wine",
            "MODEL_VERSION": "3",
            "REVISION": "wine-1",
            "MODEL_CREATED": "2026-01-31T12:00:00Z",
            "METRICS_PORT": "0",
            "REQUEST_LOG": "/logs/requests",
            "REQUEST_LOG_SAMPLE": "0.1",
            "REQUEST_LOG_BODIES": "true",
            "REQUEST_LOG_MAX_BYTES": "1000000",
            "DRIFT": "off",
            "DRIFT_BASELINE_ROWS": "500",
            "API_KEYS_FILE": "/keys/keys",
            "JWKS_URL": "https://issuer.example.com/keys",
            "JWT_ISSUER": "https://issuer.example.com",
            "JWT_AUDIENCE": "models",
            "JWKS_ALLOW_HTTP": "true",
            "JWKS_MAX_AGE": "3600",
            "RATE_LIMIT": "2.5",
            "RATE_BURST": "10",
        }
    )
    assert read == Settings(
        model_name="wine",
        model_version="3",
        revision="wine-1",
        model_created=1769860800.0,
        metrics_port=0,
        request_log="/logs/requests",
        request_log_sample=0.1,
        request_log_bodies=True,
        request_log_max_bytes=1_000_000,
        drift=False,
        drift_baseline_rows=500,
        api_keys_file=Path("/keys/keys"),
        jwks_url="https://issuer.example.com/keys",
        jwt_issuer="https://issuer.example.com",
        jwt_audience="models",
        jwks_allow_http=True,
        jwks_max_age=3600,
        rate_limit=2.5,
        rate_burst=10.0,
    )


@pytest.mark.parametrize("text", ["1769860800", "1769860800000", "2026-01-31T13:00:00+01:00"])
def test_a_moment_has_several_forms(text: str) -> None:
    assert from_environment({"MODEL_CREATED": text}).model_created == 1769860800.0


def test_tokens_of_any_issuer_or_for_anyone_are_no_guard() -> None:
    url = {"JWKS_URL": "https://issuer.example.com/keys"}
    with pytest.raises(
        SettingsError,
        match="JWKS_URL is set without JWT_ISSUER: write the iss of tokens for this server",
    ):
        from_environment(url)
    with pytest.raises(
        SettingsError,
        match="JWKS_URL is set without JWT_AUDIENCE: write the aud of tokens for this server",
    ):
        from_environment({**url, "JWT_ISSUER": "https://issuer.example.com"})
    with pytest.raises(SettingsError, match="JWT_SUBJECTS is set without JWKS_URL: write the URL"):
        from_environment({"JWT_SUBJECTS": "ann"})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MODEL_CREATED", "yesterday", "MODEL_CREATED is 'yesterday': write Unix time, or"),
        ("METRICS_PORT", "x", "METRICS_PORT is 'x': write a port from 0 to 65535, like 9090"),
        ("DRIFT", "on", "DRIFT is 'on': write auto or off"),
        ("DRIFT_BASELINE_ROWS", "9", "is '9': write a whole number of at least 100"),
        ("REQUEST_LOG_SAMPLE", "2", "REQUEST_LOG_SAMPLE is '2': write a ratio from 0 to 1"),
        ("REQUEST_LOG_SAMPLE", "nan", "REQUEST_LOG_SAMPLE is 'nan': write a ratio from 0 to 1"),
        ("REQUEST_LOG_MAX_BYTES", "1", "is '1': write a whole number of at least 65536"),
        ("JWKS_URL", "keys", "JWKS_URL is 'keys': write the URL of a key set"),
        ("RATE_LIMIT", "0", "RATE_LIMIT is '0': write a number above 0, like 50"),
        ("RATE_LIMIT", "many", "RATE_LIMIT is 'many': write a number above 0, like 50"),
        ("RATE_BURST", "inf", "RATE_BURST is 'inf': write a number above 0, like 50"),
        ("WORKERS", "0", "WORKERS is '0': write a whole number of at least 1, like 1"),
        ("WORKERS", "two", "WORKERS is 'two': write a whole number of at least 1, like 1"),
        ("PORT", "-1", "PORT is '-1': write a port from 1 to 65535, like 8080"),
        ("PORT", "65536", "PORT is '65536': write a port from 1 to 65535, like 8080"),
        ("GRPC_PORT", "x", "GRPC_PORT is 'x': write a port from 0 to 65535, like 8081"),
        ("WORKERS", "1" * 5000, "WORKERS is '1{100}…': write a whole number of at least 1"),
        ("WORKERS", "٣", "WORKERS is '٣': write a whole number of at least 1"),
        ("BATCHING", "maybe", "BATCHING is 'maybe': write auto, on or off"),
        ("MODEL_CREATED", "inf", "MODEL_CREATED is 'inf': write Unix time, or"),
        (
            "JWKS_URL",
            "ftp://me:secret@x/",
            r"JWKS_URL is 'ftp://\*\*\*@x/': write the URL of a key set",
        ),
        ("JWKS_URL", "http://x/keys", "JWKS_URL is 'http://x/keys': write an https URL, because"),
        ("JWKS_MAX_AGE", "1", "JWKS_MAX_AGE is '1': write a whole number of at least 600"),
        ("NO_INDEX", "maybe", "NO_INDEX is 'maybe': write true or false"),
    ],
)
def test_a_wrong_value_is_refused_with_a_right_value(name: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence) as error:
        from_environment({name: value})
    assert "secret" not in str(error.value)


def test_variables_of_agents_are_read() -> None:
    read = from_environment(
        {"MAX_CONCURRENT_PREDICTIONS": "300", "STREAM_TIMEOUT": "1800", "TRACES": "off"}
    )
    assert read == Settings(max_concurrent_predictions=300, stream_timeout=1800, traces="off")
