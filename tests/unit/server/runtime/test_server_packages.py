"""Packages of a model that are too old for the server end it with a sentence."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mlflow_model_server.runtime import server_packages
from mlflow_model_server.settings import Settings
from tests.unit.server import models
from tests.unit.server.process import running
from tests.unit.server.wheels import make_wheel


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a test saves its model: MLflow makes the folder."""
    return tmp_path / "source"


def test_the_image_s_own_are_recent_enough() -> None:
    server_packages.check(Settings(grpc_port=8081, jwks_url="https://x.example"))


@pytest.mark.parametrize(
    ("name", "version", "variables"),
    [
        ("uvicorn", "0.20.0", {}),
        (
            "PyJWT",
            "1.7.1",
            {"JWKS_URL": "https://127.0.0.1:9", "JWT_ISSUER": "i", "JWT_AUDIENCE": "a"},
        ),
    ],
)
def test_a_model_s_that_are_not_are_named(
    settings: Settings,
    model: Path,
    wheels: Path,
    unused_tcp_port: int,
    name: str,
    version: str,
    variables: dict[str, str],
) -> None:
    models.save_wine(model)
    with zipfile.ZipFile(make_wheel(wheels, name, version)) as wheel:
        wheel.extractall(settings.packages)
    with running(settings.model_dir, unused_tcp_port, **variables) as server:
        assert server.ended() == 1
        word = server.told()
    assert word["reason"] == "DependencyInstallFailed"
    assert (
        f"{name.lower()} {version} is installed for the model, but the server needs"
        in (word["message"])
    )
