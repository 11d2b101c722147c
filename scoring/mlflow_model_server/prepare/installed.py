"""What the image has, and whether that satisfies what a model asks for."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mlflow_model_server.prepare.requirements import Line
from mlflow_model_server.runtime.server_packages import ends_before, oldest

log = logging.getLogger(__name__)

MLFLOW = "mlflow"
# mlflow-skinny is the same code with fewer dependencies.
SKINNY = "mlflow-skinny"
# A part of that code, in the same folder: alone, and in another version, it would hide the rest.
TRACING = "mlflow-tracing"
PARTS_OF_MLFLOW = (MLFLOW, SKINNY, TRACING)
# Before 3.0 MLflow's scoring application was another one. Newer MLflow loads older models.
FIRST_SERVABLE = Version("3")


def has(line: Line) -> bool:
    """Whether the image has what a line asks for, in a version that fits."""
    requirement = line.requirement
    if requirement is None:
        return False
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    return _has(requirement, visited=set())


def allows(constraint: Line) -> bool:
    """Whether the image's version of a package fits a constraint, or the image has none of it."""
    requirement = constraint.requirement
    if requirement is None:
        return False
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    version = version_of(requirement.name)
    return version is None or _fits(requirement.specifier, version)


def servable(line: Line) -> Line | None:
    """The line, or None where it asks for an MLflow that can't serve: the image's own stays."""
    requirement = line.requirement
    if requirement is None or canonicalize_name(requirement.name) not in PARTS_OF_MLFLOW:
        return line
    if canonicalize_name(requirement.name) == TRACING:
        return None  # comes with mlflow
    if ends_before(requirement.specifier, FIRST_SERVABLE):
        log.warning(
            "%s requires %s: the image's MLflow %s is kept, because scoring servers "
            "before 3.0 were different software; newer versions of MLflow load "
            "older models",
            line.file,
            line.package,
            version_of(SKINNY),
        )
        return None
    return line


def runnable(line: Line, bounds: Mapping[str, Requirement]) -> Line | None:
    """The line, or None where it asks for a package too old for the server: the image's stays.

    Files that list a whole environment pin such packages, which no model needs in that version.
    """
    requirement = line.requirement
    bound = bounds.get(canonicalize_name(requirement.name)) if requirement else None
    if requirement is None or bound is None or requirement.url:
        return line
    if not ends_before(requirement.specifier, oldest(bound)):
        return line
    log.warning(
        "%s requires %s, but the server requires %s: the image's %s is kept",
        line.file,
        line.package,
        bound,
        version_of(requirement.name),
    )
    return None


def version_of(name: str) -> str | None:
    """The version of a package in the image; None where it has none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _has(requirement: Requirement, visited: set[tuple[str, frozenset[str]]]) -> bool:
    """The same for a requirement that applies here, and for what its extras bring."""
    version = version_of(requirement.name)
    if version is None or not _fits(requirement.specifier, version):
        return False
    if requirement.url and requirement.url != _installed_from(requirement.name):
        return False
    key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
    if not requirement.extras or key in visited:
        return True
    visited.add(key)
    return all(_has(extra, visited) for extra in _brought_by_extras(requirement))


def _brought_by_extras(requirement: Requirement) -> list[Requirement]:
    brought = []
    for text in metadata.requires(requirement.name) or ():
        try:
            needed = Requirement(text)
        except InvalidRequirement:
            continue
        if needed.marker is not None and any(
            needed.marker.evaluate({"extra": extra}) for extra in requirement.extras
        ):
            brought.append(needed)
    return brought


def _fits(specifier: SpecifierSet, version: str) -> bool:
    try:
        return specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


def _installed_from(name: str) -> str | None:
    """The URL that a package was installed from, where it came from a URL (PEP 610)."""
    try:
        text = metadata.distribution(name).read_text("direct_url.json")
        return str(json.loads(text)["url"]) if text else None
    except (ValueError, KeyError):
        return None
