"""Models that were logged with another Python are refused before they are served."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest
import yaml

from mlflow_model_server.prepare import python_version
from mlflow_model_server.prepare.init_container import prepare
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings
from tests.portability import MLMODELS
from tests.unit.server import models
from tests.unit.server.process import SECONDS_TO_START, running, wait_until
from tests.unit.server.wheels import make_wheel

OURS = ".".join(map(str, sys.version_info[:2]))
OTHER = "3.13.1" if OURS != "3.13" else "3.12.4"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a test saves its model: MLflow makes the folder."""
    return tmp_path / "source"


def logged_with(model: Path, version: str) -> None:
    """Makes a saved model one of another Python, in the two files that name it."""
    for name in ("MLmodel", "python_env.yaml"):
        text = (model / name).read_text()
        assert platform.python_version() in text
        (model / name).write_text(text.replace(platform.python_version(), version))


def save_pickled(model: Path) -> None:
    """Saves a model that is a pickle with its code: of a class that no module has."""

    class Doubler(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return model_input.iloc[:, 0] * 2

    mlflow.pyfunc.save_model(model, python_model=Doubler(), pip_requirements=["pandas"])


def test_pickled_code_of_another_python_ends_the_init_container(
    settings: Settings, model: Path, unused_tcp_port: int
) -> None:
    save_pickled(model)
    logged_with(model, OTHER)
    uri = settings.model_uri
    with running(settings.model_dir, unused_tcp_port, "prepare", MODEL_URI=uri) as container:
        assert container.ended() == 1, container.output.read_text()
        assert container.told() == {
            "reason": "PythonVersionUnsupported",
            "message": f"The model was logged with Python {OTHER}, and no other Python loads its "
            f"code; this image has Python {OURS}",
        }
    assert not (settings.model_dir / "prepared").exists()


def test_a_custom_image_serves_it_with_a_warning(
    settings: Settings, model: Path, unused_tcp_port: int
) -> None:
    """Somebody chose the image for this model: here its code loads all the same."""
    save_pickled(model)
    logged_with(model, OTHER)
    uri = settings.model_uri
    with running(settings.model_dir, unused_tcp_port, "run", MODEL_URI=uri) as server:
        wait_until(server.answers, "the server answers", SECONDS_TO_START)
        output = server.output.read_text()
        assert f"logged with Python {OTHER} and runs with this image's {OURS}" in output


@pytest.mark.parametrize("version", [OTHER, f"{OURS}.99"])
def test_source_code_and_the_same_minor_version_are_prepared(
    settings: Settings, model: Path, wheels: Path, version: str
) -> None:
    make_wheel(wheels, "tinyone", "1.0")
    if version == OTHER:
        models.save_from_code(model, models.SLOW)
    else:
        save_pickled(model)
    logged_with(model, version)
    prepare(settings)
    assert (settings.model_dir / "prepared").exists()


@pytest.mark.parametrize(("mlmodel", "is_portable"), MLMODELS)
def test_the_rule_is_the_operator_s(mlmodel: str, is_portable: bool) -> None:
    content = yaml.safe_load(mlmodel)
    assert python_version.is_portable(content) is is_portable
    content["flavors"]["python_function"]["python_version"] = OTHER
    if is_portable:
        python_version.check(content, OTHER)
    else:
        with pytest.raises(StartupError, match=f"logged with Python {OTHER}"):
            python_version.check(content, None)


@pytest.mark.parametrize(
    ("mlmodel", "environment", "refused"),
    [
        ({}, OTHER, True),
        ({}, f"{OURS}.1", False),
        ({}, None, False),
        ({}, "3", False),
        ({"flavors": {"python_function": {"python_version": f"{OURS}.7"}}}, OTHER, False),
        ({"flavors": {"python_function": {"python_version": ["3.9"]}}}, None, False),
        ({"flavors": {"python_function": {"loader_module": {}, "data": 1}}}, OTHER, True),
        ({"flavors": ["python_function"]}, OTHER, True),
    ],
)
def test_the_mlmodel_file_counts_before_the_environment_files(
    mlmodel: dict[str, Any], environment: str | None, refused: bool
) -> None:
    try:
        python_version.check(mlmodel, environment)
    except StartupError as failure:
        assert refused, json.dumps(mlmodel)
        assert failure.reason == "PythonVersionUnsupported"
    else:
        assert not refused
