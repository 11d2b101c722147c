"""What people who install the packages get."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest

import mlflow_model_operator
import mlflow_model_server
from dev.cluster.settings import REPOSITORY


@pytest.mark.parametrize("package", [mlflow_model_operator, mlflow_model_server])
def test_packages_are_typed(package: object) -> None:
    file = package.__file__  # type: ignore[attr-defined]
    assert (Path(file).parent / "py.typed").is_file()


def test_training_code_has_the_baseline() -> None:
    """`pip install ./scoring`, then `from mlflow_model_server import baseline`."""
    from mlflow_model_server import baseline

    assert callable(baseline.save)


@pytest.mark.parametrize("folder", [".", "scoring"])
def test_the_package_is_what_is_built(folder: str) -> None:
    text = (REPOSITORY / folder / "pyproject.toml").read_text(encoding="utf-8")
    (built,) = tomllib.loads(text)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert (REPOSITORY / folder / built / "__init__.py").is_file()


def test_people_who_install_the_plugin_get_little_else() -> None:
    """`pip install .` gives `kubectl mmd`; what only the operator's image needs is an extra."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {re.split("[^a-z0-9]", needed)[0] for needed in project["dependencies"]} == {
        "jinja2",
        "pydantic",
        "pyyaml",
        "tzdata",
    }
    module, _, function = project["scripts"]["kubectl-mmd"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
