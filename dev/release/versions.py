"""The version of the project, wherever it is written, and what the changelog says of it."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# File → the pattern of the line with the version.
PLACES = {
    "operator/mlflow_model_operator/__init__.py": r'^__version__ = "(.+)"$',
    "scoring/pyproject.toml": r'^version = "(.+)"$',
    "charts/mlflow-model-operator/Chart.yaml": r'^appVersion: "(.+)"$',
}
CHART_VERSION = r"^version: (.+)$"
CHANGELOG = "CHANGELOG.md"
_TAG = re.compile(r"v(\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?)")


class VersionError(Exception):
    """A version that does not fit; the message says which, and what to do."""


def current() -> str:
    """The project's version."""
    return next(iter(written().values()))


def written(repository: Path = REPOSITORY) -> dict[str, str]:
    """The version as each file has it."""
    places = {name: _find(repository / name, pattern) for name, pattern in PLACES.items()}
    chart = "charts/mlflow-model-operator/Chart.yaml"
    return {**places, f"{chart} (version)": _find(repository / chart, CHART_VERSION)}


def check(tag: str, repository: Path = REPOSITORY) -> None:
    """Raises VersionError if the tag is not what the files and the changelog say."""
    match = _TAG.fullmatch(tag)
    if match is None:
        raise VersionError(f"{tag} is not a tag of a release: write it like v0.1.0 or v0.2.0-rc.1")
    version = match[1]
    others = [f"{name} has {there}" for name, there in written(repository).items()]
    wrong = [text for text in others if not text.endswith(f" has {version}")]
    if wrong:
        raise VersionError(f"the tag is {version}, but {'; '.join(wrong)}")
    changes(version, repository)


def changes(version: str, repository: Path = REPOSITORY) -> str:
    """The changelog's section of a version, without its title. Raises VersionError."""
    text = (repository / CHANGELOG).read_text(encoding="utf-8")
    match = re.search(rf"^## {re.escape(version)}\b.*\n((?:(?!^## ).*\n?)*)", text, re.MULTILINE)
    if match is None:
        raise VersionError(
            f"{CHANGELOG} has no section `## {version}`: rename `## Unreleased`, and add a new one"
        )
    return match[1].strip()


def _find(path: Path, pattern: str) -> str:
    match = re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise VersionError(f"{path.name} has no version of the form {pattern}")
    return match[1]
