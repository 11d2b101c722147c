"""The version has one owner; whatever else states it agrees."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from images.image import IMAGES, VERSION
from mlflow_model_operator import __version__

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "mlflow-model-operator"
# An image of ours with its tag; "0.1.0-py3.11" is the scoring image of one Python version.
IMAGE = re.compile(r"/(?:operator|scoring|mlflow):([0-9]+\.[\w.]*)")
STATED = re.compile(r'(?:server_version|__version__)(?:: str)? = "([0-9][^"]*)"')
FOLDERS = ("charts", "docs", "e2e", "examples", "images", "operator", "scoring")
SUFFIXES = (".md", ".py", ".tpl", ".yaml")


def test_the_packages_metadata_is_read_from_the_owner() -> None:
    project = _toml(REPOSITORY / "pyproject.toml")
    assert project["project"]["dynamic"] == ["version"]
    owner = REPOSITORY / project["tool"]["hatch"]["version"]["path"]
    assert STATED.findall(owner.read_text()) == [__version__]


def test_so_is_that_of_the_scoring_server() -> None:
    folder = REPOSITORY / "scoring"
    project = _toml(folder / "pyproject.toml")
    if "version" in project["project"]:
        assert project["project"]["version"] == __version__
    else:
        owner = folder / project["tool"]["hatch"]["version"]["path"]
        assert STATED.findall(owner.read_text()) == [__version__]


def test_the_chart_is_of_that_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_the_images_are_of_that_version() -> None:
    assert __version__ == VERSION
    assert {image.tag.rpartition(":")[2] for image in IMAGES.values()} == {__version__}


def _files() -> Iterator[Path]:
    yield REPOSITORY / "README.md"
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.suffix in SUFFIXES and "tools" not in path.parts:
                yield path


@pytest.mark.parametrize("pattern", [IMAGE, STATED], ids=["image", "statement"])
def test_whatever_states_it_agrees(pattern: re.Pattern[str]) -> None:
    stated = {
        (str(path.relative_to(REPOSITORY)), version)
        for path in _files()
        for version in pattern.findall(path.read_text(encoding="utf-8"))
    }
    assert stated, "the pattern finds nothing"
    assert not {place for place in stated if place[1] != __version__}


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())
