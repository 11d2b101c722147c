"""What is read from MLflow's files."""

from __future__ import annotations

import pytest

from mlflow_model_operator.registry.tracking_server import python_version

MLMODEL = """\
artifact_path: model
flavors:
  python_function:
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.sklearn
    model_path: model.pkl
    python_version: {version}
  sklearn:
    pickled_model: model.pkl
    sklearn_version: 1.7.2
mlflow_version: 3.17.2
"""


@pytest.mark.parametrize(
    ("written", "version"),
    [
        ("3.11.7", "3.11.7"),
        ("'3.10'", "3.10"),
        ("3.13.0rc1", "3.13.0rc1"),
        ("three", None),
        ("''", None),
        ("3", None),
    ],
)
def test_the_python_version_of_a_model(written: str, version: str | None) -> None:
    assert python_version(MLMODEL.format(version=written)) == version


@pytest.mark.parametrize(
    "text",
    [
        "",
        "flavors: {}",
        "flavors:\n  sklearn:\n    python_version: 3.11.7\n",
        "flavors:\n  python_function:\n    env: x\n  other:\n    python_version: 3.11.7\n",
        "<html>",
    ],
)
def test_a_model_without_one(text: str) -> None:
    assert python_version(text) is None


def test_a_long_file_is_read_in_no_time() -> None:
    lines = "    x: y\n" * 200_000
    assert python_version(f"  python_function:\n{lines}" * 3) is None
