"""The packages that the server itself runs with, and their oldest versions.

A model's packages go before the image's own, so they may replace these. The bounds are those of
pyproject.toml, of which the image has no copy; a test compares the two.
"""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings

_ALWAYS = ("httptools>=0.7", "orjson>=3.11", "packaging>=22", "uvicorn>=0.40", "uvloop>=0.22")
_WITH_GRPC = ("grpcio>=1.80",)
_WITH_TOKENS = ("pyjwt>=2.8",)
# Older ones load pickles whatever MLFLOW_ALLOW_PICKLE_DESERIALIZATION says.
_WITHOUT_PICKLE = ("mlflow>=3.17", "mlflow-skinny>=3.17")
# In older ones, files could have types that skops did not report as untrusted.
_WITH_FORMATS = ("skops>=0.16",)
_UPPER_BOUNDS = ("==", "===", "~=", "<", "<=")


def bounds(settings: Settings) -> dict[str, Requirement]:
    """The oldest versions that the server runs with under these settings, by package."""
    lines = [
        *_ALWAYS,
        *(_WITH_GRPC if settings.grpc_port else ()),
        *(_WITH_TOKENS if settings.jwks_url else ()),
        *(_WITHOUT_PICKLE if settings.forbids_pickle or not settings.allow_pickle else ()),
        *(_WITH_FORMATS if settings.forbids_pickle else ()),
    ]
    return {canonicalize_name(line.name): line for line in map(Requirement, lines)}


def check(settings: Settings) -> None:
    """Raises StartupError where a package in this process' path is too old for the server."""
    for name, bound in bounds(settings).items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # some are optional: uvloop, and h11 stands in for httptools
        if not bound.specifier.contains(version, prereleases=True):
            raise StartupError(
                "DependencyInstallFailed",
                f"{name} {version} is installed for the model, but the server needs "
                f"{bound}: let the model's requirements allow {bound}",
            )


def ends_before(specifier: SpecifierSet, version: Version) -> bool:
    """Whether a specifier names an upper bound, and all that it allows is older than `version`."""
    for clause in specifier:
        if clause.operator not in _UPPER_BOUNDS:
            continue
        try:
            bound = Version(clause.version.removesuffix(".*"))
        except InvalidVersion:
            continue
        if bound < version or (clause.operator == "<" and bound == version):
            return True
    return False


def oldest(bound: Requirement) -> Version:
    """The version in a bound like `uvicorn>=0.40`."""
    (clause,) = bound.specifier
    return Version(clause.version)
