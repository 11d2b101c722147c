"""Installs exactly what a model's files name, and nothing that the image has already.

uv resolves for the image's own interpreter, so that whatever is in the image and fits stays, and
need not be in the index. What it would change there goes into a folder of its own, which comes
first on the path of the server.
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from mlflow_model_server.prepare import installed, policy, python_version, requirements
from mlflow_model_server.prepare.requirements import ModelRequirements
from mlflow_model_server.prepare.uv import Uv
from mlflow_model_server.runtime import server_packages
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

# Of the MLmodel file, and the version in the model's environment files.
PythonCheck = Callable[[dict[str, Any], str | None], None]
# What serving itself needs: these must fit the model's packages, in whatever versions that takes.
SERVER_PACKAGES = (installed.SKINNY, "pandas")
SERVABLE = [f"{name}>={installed.FIRST_SERVABLE}" for name in (installed.SKINNY, installed.MLFLOW)]
# ` + name==1.0`, ` + name @ file:///…` in uv's list of what it would do.
_CHANGE = re.compile(r"^ [+~] (?P<name>[^\s=@]+)(?:==(?P<version>\S+)| @ (?P<url>\S+))", re.M)


def install(
    settings: Settings, mlmodel: dict[str, Any], check_python: PythonCheck = python_version.check
) -> ModelRequirements:
    """Installs into `settings.packages` what the model needs beyond the image.

    Returns the model's requirements, all of them. Raises StartupError with DependencyInstallFailed
    and the essence of uv's message, or with what `check_python` says of the model's Python.
    """
    needed = requirements.read(settings.artifact, mlmodel, settings.requirements_env)
    check_python(mlmodel, needed.python)
    _leave_to_image(settings, needed)
    policy.check(settings, needed)
    shutil.rmtree(settings.packages, ignore_errors=True)
    if all(map(installed.has, needed.lines)) and all(map(installed.allows, needed.constraints)):
        log.info("the image has all packages of the model's %d requirements", len(needed.lines))
        return needed
    installer = _Installer(settings, needed)
    try:
        changes = installer.changes()
        if changes:
            log.info("installing %s", ", ".join(sorted(changes)))
            installer.install(list(changes.values()), settings.packages)
    finally:
        installer.clean_up()
    return needed


def install_beside(
    settings: Settings, needed: ModelRequirements, names: Sequence[str], folder: Path
) -> None:
    """Installs into `folder` packages that fit what the model has, all of which stays as it is.

    `needed` is what `install` returned. Raises StartupError with DependencyInstallFailed where no
    versions of them fit.
    """
    there = _versions(settings.packages)
    if not there and all(installed.version_of(name) for name in names):
        return
    pins = {**_versions(), **there}
    installer = _Installer(settings, needed)
    try:
        changes = installer.changes(names, [f"{name}=={pins[name]}" for name in pins])
        more = {name: line for name, line in changes.items() if name not in pins}
        if more:
            log.info("installing %s", ", ".join(sorted(more)))
            installer.install(list(more.values()), folder)
    finally:
        installer.clean_up()


def _leave_to_image(settings: Settings, needed: ModelRequirements) -> None:
    """Takes out lines about packages that must stay as the image has them."""
    bounds = server_packages.bounds(settings)
    for lines in (needed.lines, needed.constraints):
        lines[:] = [
            line for line in lines if installed.servable(line) and installed.runnable(line, bounds)
        ]


def _versions(folder: Path | None = None) -> dict[str, str]:
    """The packages in a folder, or in the image, and their versions."""
    path = sys.path if folder is None else [str(folder)]
    return {
        canonicalize_name(distribution.name): distribution.version
        for distribution in metadata.distributions(path=path)
        if distribution.name
    }


class _Installer:
    """Finds out what to install, and installs it."""

    def __init__(self, settings: Settings, needed: ModelRequirements) -> None:
        self._settings = settings
        self._needed = needed
        self._uv = Uv(settings, needed)

    def changes(self, more: Sequence[str] = (), pins: Sequence[str] = ()) -> dict[str, str]:
        """What uv would add to the image or change in it: lines with exact versions or URLs.

        By name; `more` are names besides those in the model's files, and `pins` are further bounds.
        """
        needed, uv = self._needed, self._uv
        bounds = server_packages.bounds(self._settings).values()
        output = uv.install(
            "--dry-run",
            uv.file("--requirement", "requirements", [*needed.lines, *self._server_lines(), *more]),
            uv.file(
                "--constraint", "constraints", [*needed.constraints, *SERVABLE, *bounds, *pins]
            ),
            uv.file("--excludes", "excluded", self._excluded()),
        )
        changes: dict[str, re.Match[str]] = {
            canonicalize_name(match["name"]): match for match in _CHANGE.finditer(output)
        }
        changes.pop(installed.TRACING, None)  # other packages need it: mlflow-skinny has its code
        return {name: self._pin(name, match) for name, match in changes.items()}

    def install(self, changes: Sequence[str], target: Path) -> None:
        """Installs these, and nothing else."""
        self._uv.install(
            "--no-deps",  # the resolution was complete
            "--compile-bytecode",  # the server may not write, and must not compile at each start
            f"--target={target}",
            *(["--require-hashes"] if self._settings.require_hashes else []),
            self._uv.file("--requirement", "changes", [*changes, *self._options()]),
        )

    def clean_up(self) -> None:
        """Removes uv's files."""
        self._uv.clean_up()

    def _named(self) -> set[str]:
        lines = self._needed.lines
        return {canonicalize_name(line.requirement.name) for line in lines if line.requirement}

    def _server_lines(self) -> list[str]:
        """The server's own packages, where the model does not say which."""
        return [name for name in SERVER_PACKAGES if name not in self._named()]

    def _excluded(self) -> list[str]:
        """Where only other packages depend on mlflow, mlflow-skinny will do, in any version."""
        if installed.MLFLOW in self._named():
            return []
        return [name for name in installed.PARTS_OF_MLFLOW if name != installed.SKINNY]

    def _options(self) -> list[str]:
        return [str(line) for line in self._needed.lines if line.text.startswith("-")]

    def _pin(self, name: str, change: re.Match[str]) -> str:
        """The exact requirement for one of uv's changes, with its hashes."""
        lines = [
            line
            for line in self._needed.lines
            if line.requirement and canonicalize_name(line.requirement.name) == name
        ]
        hashes = "".join(f" {line.hashes}" for line in lines if line.hashes)
        if self._settings.require_hashes and not hashes:
            raise StartupError(
                "DependencyInstallFailed",
                f"REQUIRE_HASHES is true, and the model's requirements have no hash for {name}: "
                "write all packages with versions and hashes, as `uv pip compile "
                "--generate-hashes` does",
            )
        # uv masks passwords in the URLs that it prints.
        urls = [line.url for line in lines if line.url and change["url"]]
        if change["url"]:
            return f"{change['name']} @ {urls[0] if urls else change['url']}{hashes}"
        return f"{change['name']}=={change['version']}{hashes}"
