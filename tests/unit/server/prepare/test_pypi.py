"""Requirements that name a version of MLflow and little else, resolved and installed from PyPI.

What mlflow itself asks for is known there alone. Slow, and skipped where PyPI can't be reached.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
import requests
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlflow_model_server.prepare import install
from mlflow_model_server.settings import Settings
from tests.unit.server.process import environment_of_server

# Of 3.x the oldest, the newest that wants pandas 2, and the one before the image's own.
VERSIONS = ["3.0.0", "3.14.0", "3.17.0"]
# Modules that an author gets with mlflow, without naming their packages.
BROUGHT = ["jinja2", "PIL", "attr", "werkzeug", "matplotlib", "sqlalchemy", "fontTools", "yaml"]


@pytest.fixture
def from_pypi(settings: Settings) -> Settings:
    try:
        requests.head("https://pypi.org/simple/mlflow/", timeout=10).raise_for_status()
    except requests.RequestException:
        pytest.skip("PyPI can't be reached")
    return dataclasses.replace(settings, no_index=False, find_links=())


def versions(folder: Path) -> dict[str, str]:
    """Of all packages, in the order in which the server finds them."""
    in_order: dict[str, str] = {}
    for distribution in distributions(path=[str(folder), *sys.path]):
        in_order.setdefault(canonicalize_name(distribution.name), distribution.version)
    return in_order


@pytest.mark.parametrize("version", VERSIONS)
def test_mlflow_s_own_bounds_hold_and_what_it_brings_is_there(
    from_pypi: Settings, version: str
) -> None:
    text = f"mlflow=={version}\ncloudpickle\n"
    (from_pypi.artifact / "requirements.txt").write_text(text)
    install.install(from_pypi, {})
    there = versions(from_pypi.packages)
    (mlflow,) = (
        each for each in distributions(path=[str(from_pypi.packages)]) if each.name == "mlflow"
    )
    assert mlflow.version == there["mlflow-skinny"] == version
    for line in map(Requirement, mlflow.requires or ()):
        name = canonicalize_name(line.name)
        if name != "mlflow-tracing" and (not line.marker or line.marker.evaluate({"extra": ""})):
            assert line.specifier.contains(there[name], prereleases=True), line
    program = (
        "from pathlib import Path\n"
        "from mlflow_model_server.runtime.site_packages import use_packages\n"
        f"use_packages(Path({str(from_pypi.packages)!r}))\n"
        f"import mlflow.pyfunc, {', '.join(BROUGHT)}\n"
        "print(mlflow.__version__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment_of_server(), stdout=subprocess.PIPE
    )
    assert done.stdout.decode().split() == [version]
