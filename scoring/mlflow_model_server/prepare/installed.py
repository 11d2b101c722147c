"""What the image has, and whether that satisfies what a model asks for."""

from __future__ import annotations

import json
import logging
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mlflow_model_server.prepare.requirements import Line

log = logging.getLogger(__name__)

# mlflow-skinny is the same code with fewer dependencies: no tracking server, no database.
SKINNY = "mlflow-skinny"
# mlflow-tracing is a part of that code, in the same folder: it would hide the rest.
PARTS_OF_MLFLOW = ("mlflow", SKINNY, "mlflow-tracing")
# Before 3.0 MLflow's scoring application was another one. Newer MLflow loads older models.
FIRST_SERVABLE = Version("3")
_UPPER_BOUNDS = ("==", "===", "~=", "<", "<=")


def has(line: Line) -> bool:
    """Whether the image has what a line asks for, in a version that fits."""
    requirement = line.requirement
    if requirement is None:
        return False
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    return _has(requirement, seen=set())


def allows(constraint: Line) -> bool:
    """Whether the image's version of a package fits a constraint, or the image has none of it."""
    requirement = constraint.requirement
    if requirement is None:
        return False
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    version = version_of(requirement.name)
    return version is None or _fits(requirement.specifier, version)


def with_skinny(line: Line) -> Line | None:
    """`mlflow==3.17.2` as `mlflow-skinny==3.17.2`; None where the image's own MLflow stays."""
    requirement = line.requirement
    if requirement is None or canonicalize_name(requirement.name) not in PARTS_OF_MLFLOW:
        return line
    if canonicalize_name(requirement.name) == "mlflow-tracing":
        return None
    if _ends_before_servable(requirement.specifier):
        log.warning(
            "%s asks for %s: the image's MLflow %s stays, because scoring servers before 3.0 were "
            "another software; newer MLflow loads older models",
            line.file,
            requirement,
            version_of(SKINNY),
        )
        return None
    skinny = Requirement(str(requirement))
    skinny.name, skinny.url = SKINNY, None
    if requirement.url:
        log.warning("%s: the URL of %s is ignored", line.file, requirement.name)
    return Line(str(skinny), line.file, skinny)


def version_of(name: str) -> str | None:
    """The version of a package in the image; None where it has none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _ends_before_servable(specifier: SpecifierSet) -> bool:
    for one in specifier:
        if one.operator not in _UPPER_BOUNDS:
            continue
        try:
            bound = Version(one.version.removesuffix(".*"))
        except InvalidVersion:
            continue
        if bound < FIRST_SERVABLE or (one.operator == "<" and bound == FIRST_SERVABLE):
            return True
    return False


def _has(requirement: Requirement, seen: set[tuple[str, frozenset[str]]]) -> bool:
    """The same for a requirement that applies here, and for what its extras bring."""
    version = version_of(requirement.name)
    if version is None or not _fits(requirement.specifier, version):
        return False
    if requirement.url and requirement.url != _installed_from(requirement.name):
        return False
    key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
    if not requirement.extras or key in seen:
        return True
    seen.add(key)
    return all(_has(one, seen) for one in _brought_by_extras(requirement))


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
    """The URL that a package was installed from, where it came from one (PEP 610)."""
    try:
        text = metadata.distribution(name).read_text("direct_url.json")
        return str(json.loads(text)["url"]) if text else None
    except (ValueError, KeyError):
        return None
