"""The chart as it is published: with the registry of its images, and links to its source."""

from __future__ import annotations

import shutil
from pathlib import Path

from images.push import PYTHON_VERSIONS

NAME = "mlflow-model-operator"
CHART = Path(__file__).resolve().parents[2] / "charts" / NAME
_REGISTRY = '  registry: ""\n  repository: operator\n'
_PRERELEASE = '  artifacthub.io/prerelease: "true"\n'
_LINKS = "  artifacthub.io/links: |\n"


def prepare(folder: Path, registry: str, repository_url: str, version: str) -> Path:
    """Copies the chart, and changes what is different in a release; returns its folder."""
    shutil.rmtree(folder, ignore_errors=True)
    copy = Path(shutil.copytree(CHART, folder / NAME))
    _edit(copy / "values.yaml", _REGISTRY, _REGISTRY.replace('""', registry))
    prerelease = str("-" in version).lower()
    _edit(copy / "Chart.yaml", _PRERELEASE, _PRERELEASE.replace("true", prerelease))
    _edit(copy / "Chart.yaml", _LINKS, _images(registry, version) + _LINKS + _link(repository_url))
    if repository_url:
        home = f"home: {repository_url}\nsources:\n  - {repository_url}\n"
        _edit(copy / "Chart.yaml", "keywords:\n", f"{home}keywords:\n")
    return copy


def _images(registry: str, version: str) -> str:
    """What Artifact Hub scans."""
    names = [("operator", f"{registry}/operator:{version}")]
    names += [
        (f"scoring-py{minor}", f"{registry}/scoring:{version}-py{minor}")
        for minor in PYTHON_VERSIONS
    ]
    lines = [f"    - name: {name}\n      image: {image}\n" for name, image in names]
    return "  artifacthub.io/images: |\n" + "".join(lines)


def _link(repository_url: str) -> str:
    return f"    - name: Source\n      url: {repository_url}\n" if repository_url else ""


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path.name} has {text.count(old)} times {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")
