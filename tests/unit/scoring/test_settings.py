from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_model_server.settings import Settings, SettingsError, from_environment


def test_what_is_not_set_has_its_default() -> None:
    assert from_environment({}) == Settings()


def test_an_empty_variable_counts_as_not_set() -> None:
    names = ("MODEL_DIR", "INDEX_URL", "FIND_LINKS", "NO_INDEX", "CA_BUNDLE", "WORKERS", "PORT")
    assert from_environment(dict.fromkeys(names, "")) == Settings()


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
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("WORKERS", "0", "WORKERS is '0': write a whole number of at least 1, like 1"),
        ("WORKERS", "two", "WORKERS is 'two': write a whole number of at least 1, like 1"),
        ("PORT", "-1", "PORT is '-1': write a whole number of at least 1, like 8080"),
        ("NO_INDEX", "maybe", "NO_INDEX is 'maybe': write true or false"),
    ],
)
def test_a_wrong_value_is_refused_with_what_to_write(name: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        from_environment({name: value})
