from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_model_server.settings import Settings, SettingsError, from_environment


def test_what_is_not_set_has_its_default() -> None:
    assert from_environment({}) == Settings()


def test_an_empty_variable_counts_as_not_set() -> None:
    names = ("MODEL_DIR", "INDEX_URL", "FIND_LINKS", "NO_INDEX", "CA_BUNDLE", "WORKERS", "PORT")
    observed = ("METRICS_PORT", "DRIFT", "REQUEST_LOG", "REQUEST_LOG_SAMPLE", "MODEL_CREATED")
    guarded = ("API_KEYS_FILE", "JWKS_URL", "JWT_ISSUER", "RATE_LIMIT", "RATE_BURST")
    assert from_environment(dict.fromkeys(names + observed + guarded, "")) == Settings()


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


def test_what_is_observed_and_guarded_is_read() -> None:
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
        rate_limit=2.5,
        rate_burst=10.0,
    )


@pytest.mark.parametrize("text", ["1769860800", "1769860800000", "2026-01-31T13:00:00+01:00"])
def test_a_moment_has_several_forms(text: str) -> None:
    assert from_environment({"MODEL_CREATED": text}).model_created == 1769860800.0


def test_tokens_of_any_issuer_or_for_anyone_are_no_guard() -> None:
    url = {"JWKS_URL": "https://issuer.example.com/keys"}
    with pytest.raises(SettingsError, match="JWKS_URL is set without JWT_ISSUER: write what"):
        from_environment(url)
    with pytest.raises(SettingsError, match="JWKS_URL is set without JWT_AUDIENCE: write what"):
        from_environment({**url, "JWT_ISSUER": "https://issuer.example.com"})


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("MODEL_CREATED", "yesterday", "MODEL_CREATED is 'yesterday': write Unix time, or"),
        ("METRICS_PORT", "x", "METRICS_PORT is 'x': write a whole number of at least 0"),
        ("DRIFT", "on", "DRIFT is 'on': write auto or off"),
        ("DRIFT_BASELINE_ROWS", "9", "is '9': write a whole number of at least 100"),
        ("REQUEST_LOG_SAMPLE", "2", "REQUEST_LOG_SAMPLE is '2': write a share from 0 to 1"),
        ("REQUEST_LOG_SAMPLE", "nan", "REQUEST_LOG_SAMPLE is 'nan': write a share from 0 to 1"),
        ("REQUEST_LOG_MAX_BYTES", "1", "is '1': write a whole number of at least 65536"),
        ("JWKS_URL", "keys", "JWKS_URL is 'keys': write the URL of a key set"),
        ("RATE_LIMIT", "0", "RATE_LIMIT is '0': write a number above 0, like 50"),
        ("RATE_LIMIT", "many", "RATE_LIMIT is 'many': write a number above 0, like 50"),
        ("RATE_BURST", "inf", "RATE_BURST is 'inf': write a number above 0, like 50"),
        ("WORKERS", "0", "WORKERS is '0': write a whole number of at least 1, like 1"),
        ("WORKERS", "two", "WORKERS is 'two': write a whole number of at least 1, like 1"),
        ("PORT", "-1", "PORT is '-1': write a whole number of at least 1, like 8080"),
        ("NO_INDEX", "maybe", "NO_INDEX is 'maybe': write true or false"),
    ],
)
def test_a_wrong_value_is_refused_with_what_to_write(name: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        from_environment({name: value})
