"""What people who install the packages get."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
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


@pytest.mark.parametrize("missing", ["aiohttp", "kopf", "kubernetes.client"])
def test_the_operator_s_command_says_what_to_install_where_only_the_plugin_is(missing: str) -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"][
        "scripts"
    ]
    module, _, function = scripts["mlflow-model-operator"].partition(":")
    program = (
        f"import sys; sys.modules[{missing!r}] = None; from {module} import {function}; "
        f"sys.exit({function}())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "operator")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"mlflow-model-operator needs the package {missing.partition('.')[0]}, which is not "
        "installed: in a clone of its repository, run pip install '.[operator]'\n"
    )


def test_training_code_keeps_its_own_mlflow() -> None:
    """Only the extra for the image has one: images/scoring.lock is resolved from it."""
    text = (REPOSITORY / "scoring/pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    assert not [line for line in project["dependencies"] if line.startswith("mlflow")]
    (image,) = (
        line for line in project["optional-dependencies"]["image"] if line.startswith("mlflow")
    )
    assert re.fullmatch(r"mlflow==3\.\d+\.\d+", image)
