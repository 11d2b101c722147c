"""API keys, with real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlflow_model_server.auth import api_keys
from mlflow_model_server.auth.api_keys import ApiKeyFile
from mlflow_model_server.auth.errors import InvalidKeyFile
from tests.unit.server.auth.issuer import Clock

KEY = "0123456789abcdef-one"
OTHER = "0123456789abcdef-two"


def test_keys_have_names_and_lines_may_be_comments() -> None:
    parsed = api_keys.parse(f"# of team a\nteam-a: {KEY}\n\n{OTHER}\n")
    assert sorted(parsed.values()) == ["key-4", "team-a"]
    assert KEY.encode() not in parsed, "only digests are kept"


def test_a_changed_secret_is_read_within_a_second(tmp_path: Path) -> None:
    """Kubernetes puts a link to a new folder in place of the old one, in one step."""
    for name, key in (("..first", KEY), ("..second", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys").write_text(f"team-a:{key}\n")
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "keys").symlink_to("..data/keys")
    clock = Clock()
    keys = ApiKeyFile(tmp_path / "keys", now=clock)
    assert keys.identify(KEY) == "team-a"

    (tmp_path / "..data_tmp").symlink_to("..second")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    clock.moment += 1.0
    assert (keys.identify(KEY), keys.identify(OTHER)) == (None, "team-a")


def test_keys_stay_while_the_file_is_gone_or_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, clock = tmp_path / "keys", Clock()
    file.write_text(f"team-a:{KEY}\n")
    keys = ApiKeyFile(file, now=clock)
    for break_it in (file.unlink, lambda: file.write_text("short")):
        break_it()
        clock.moment += 1.0
        assert keys.identify(KEY) == "team-a"
    assert "the previous keys stay valid" in caplog.text
    file.write_text(f"team-b:{OTHER}\n")
    clock.moment += 1.0
    assert (keys.identify(KEY), keys.identify(OTHER)) == (None, "team-b")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyFile, match=r"API_KEYS_FILE .*/none"):
        ApiKeyFile(tmp_path / "none")
