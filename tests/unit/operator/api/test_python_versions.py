"""Which Python a model runs with, and that none is said before anything starts."""

from __future__ import annotations

import dataclasses

import pytest

from mlflow_model_operator.api import python_versions
from mlflow_model_operator.api.model_version import ModelVersion

MODEL = ModelVersion("models:/wine@champion", "models:/wine/3", "3", "http://mlflow:5000")


@pytest.mark.parametrize(
    ("version", "available", "expected"),
    [
        ("3.12.4", ("3.11", "3.12"), "3.12"),
        ("3.9.18", ("3.10", "3.11"), "3.10"),
        ("3.14.0", ("3.10", "3.13"), "3.13"),
        (None, ("3.10", "3.11"), "3.11"),
        (None, ("3.12", "3.13"), "3.12"),
        ("3.12.4", (), None),
    ],
)
def test_the_nearest_version_is_taken(
    version: str | None, available: tuple[str, ...], expected: str | None
) -> None:
    assert python_versions.nearest(version, available, "3.11") == expected


@pytest.mark.parametrize(
    ("version", "is_portable", "available", "expected"),
    [
        ("3.13.1", False, ("3.11", "3.13"), True),
        ("3.13.1", False, ("3.11",), False),
        ("3.13.1", True, ("3.11",), True),
        (None, False, ("3.11",), True),
        (None, False, (), False),
    ],
)
def test_code_runs_with_its_own_version_only(
    version: str | None, is_portable: bool, available: tuple[str, ...], expected: bool
) -> None:
    model = dataclasses.replace(MODEL, python_version=version, is_portable=is_portable)
    assert python_versions.can_run(model, available) is expected


def test_the_denial_says_what_to_do() -> None:
    model = dataclasses.replace(MODEL, python_version="3.13.1")

    says = python_versions.denial(model, ("3.11", "3.12"))

    assert "logged with Python 3.13.1" in says
    assert "scoring images for 3.11, 3.12" in says
    assert "build one for 3.13 (chart value scoringImages)" in says
    assert "image.registry" in python_versions.denial(model, ())
