"""Installs exactly what a model's files name, and nothing that the image has already.

uv resolves for the image's own interpreter, so that all which is in the image and fits stays, and
need not be in the index. What it would change there goes into a folder of its own, which comes
first on the path of the server.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from mlflow_model_server.prepare import installed, requirements
from mlflow_model_server.prepare.requirements import Line, ModelRequirements
from mlflow_model_server.runtime.termination import StartupError, redact_urls
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)

# What serving itself needs: these must fit the model's packages, in whatever versions that takes.
SERVER_PACKAGES = (installed.SKINNY, "pandas")
SERVABLE = f"{installed.SKINNY}>={installed.FIRST_SERVABLE}"
# ` + name==1.0`, ` + name @ file:///…` in what uv says that it would do.
_CHANGE = re.compile(r"^ [+~] (?P<name>[^\s=@]+)(?:==(?P<version>\S+)| @ (?P<url>\S+))", re.M)


def install(settings: Settings, mlmodel: dict[str, Any]) -> ModelRequirements:
    """Installs into `settings.packages` what the model needs beyond the image; returns all of it.

    Raises StartupError with DependencyInstallFailed and the essence of what uv says.
    """
    needed = requirements.read(settings.artifact, mlmodel, settings.requirements_env)
    _warn_of_python(needed.python)
    needed.lines = [line for raw in needed.lines if (line := installed.with_skinny(raw))]
    shutil.rmtree(settings.packages, ignore_errors=True)
    if all(map(installed.has, needed.lines)) and all(map(installed.allows, needed.constraints)):
        log.info("the image has all that the model's %d requirements name", len(needed.lines))
        return needed
    installer = _Installer(settings, needed)
    try:
        changes = installer.changes()
        if changes:
            log.info("installing %s", ", ".join(changes.values()))
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
        more = [line for name, line in changes.items() if name not in pins]
        if more:
            log.info("installing %s", ", ".join(more))
            installer.install(more, folder)
    finally:
        installer.clean_up()


def _versions(folder: Path | None = None) -> dict[str, str]:
    """The packages in a folder, or in the image, and their versions."""
    path = sys.path if folder is None else [str(folder)]
    return {
        canonicalize_name(one.name): one.version
        for one in metadata.distributions(path=path)
        if one.name
    }


def _warn_of_python(needed: str | None) -> None:
    ours = ".".join(map(str, sys.version_info[:2]))
    theirs = ".".join((needed or ours).split(".")[:2])
    if theirs != ours:
        log.warning(
            "the model was logged with Python %s and runs with this image's %s: if it does not "
            "load, give the operator a scoring image with Python %s",
            needed,
            ours,
            theirs,
        )


class _Installer:
    """Runs uv, with files in a folder of its own beside the model's."""

    def __init__(self, settings: Settings, needed: ModelRequirements) -> None:
        self._settings = settings
        self._needed = needed
        self._folder = settings.model_dir / "uv"
        self._folder.mkdir(parents=True, exist_ok=True)

    def changes(self, more: Sequence[str] = (), pins: Sequence[str] = ()) -> dict[str, str]:
        """What uv would add to the image or change in it: lines with exact versions or URLs.

        By name; `more` is asked for besides what the model names, and `pins` are further bounds.
        """
        needed = self._needed
        excluded = [name for name in installed.PARTS_OF_MLFLOW if name != installed.SKINNY]
        said = self._uv(
            "--dry-run",
            self._file("--requirement", "needed", [*needed.lines, *self._server_lines(), *more]),
            self._file("--constraint", "constraints", [*needed.constraints, SERVABLE, *pins]),
            # Other packages may depend on mlflow itself, which mlflow-skinny stands in for.
            self._file("--excludes", "excluded", excluded),
        )
        hashes = {
            canonicalize_name(line.requirement.name): line.hashes
            for line in needed.lines
            if line.requirement
        }
        found = {canonicalize_name(one["name"]): one for one in _CHANGE.finditer(said)}
        return {
            name: f"{_pin(change)} {hashes.get(name, '')}".strip() for name, change in found.items()
        }

    def install(self, changes: Sequence[str], target: Path) -> None:
        """Installs these, and nothing else."""
        self._uv(
            "--no-deps",  # the resolution was complete
            "--compile-bytecode",  # the server may not write, and must not compile at each start
            f"--target={target}",
            self._file("--requirement", "changes", [*changes, *self._options()]),
        )

    def clean_up(self) -> None:
        """Removes the files and uv's cache: the volume counts as the pod's own storage."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _server_lines(self) -> list[str]:
        """The server's own packages, where the model does not say which."""
        named = {canonicalize_name(x.requirement.name) for x in self._needed.lines if x.requirement}
        return [name for name in SERVER_PACKAGES if name not in named]

    def _options(self) -> list[str]:
        return [str(line) for line in self._needed.lines if line.text.startswith("-")]

    def _file(self, option: str, name: str, lines: Sequence[object]) -> str:
        path = self._folder / f"{name}.txt"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return f"{option}={path}"

    def _uv(self, *arguments: str) -> str:
        """Runs `uv pip install`; returns what it said."""
        # The environment, unlike the command line, is nobody else's to see: indexes have passwords.
        places, indexes = self._places()
        done = subprocess.run(
            [
                _uv_binary(),
                "pip",
                "install",
                f"--python={sys.executable}",
                *arguments,
                *places,
                *(["--prerelease=allow"] if self._needed.prereleases else []),
            ],
            cwd=self._settings.artifact,
            env={**os.environ, **self._environment(), **indexes},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            log.error("uv says:\n%s", redact_urls(done.stderr))
            raise StartupError(
                "DependencyInstallFailed", explanation(done.stderr, self._needed.lines)
            )
        return done.stderr

    def _places(self) -> tuple[list[str], dict[str, str]]:
        """Where packages come from: options for the command line, and variables.

        What the resource says wins over what the model's files say: those were written elsewhere.
        """
        settings, theirs = self._settings, self._needed.index_options
        ours = [f"--find-links={place}" for place in settings.find_links]
        if settings.no_index:
            ours.append("--no-index")
        if settings.index_url or settings.no_index:
            if theirs:
                log.info("INDEX_URL or NO_INDEX is set: the model's own index options are ignored")
            index = settings.index_url
            return ours, {"UV_DEFAULT_INDEX": index} if index else {}
        # Those files were written for pip, which takes the best version of all indexes.
        return [*ours, *theirs, "--index-strategy=unsafe-best-match"], {}

    def _environment(self) -> dict[str, str]:
        return {
            # On the volume of the packages, so that they are linked rather than copied.
            "UV_CACHE_DIR": str(self._folder / "cache"),
            "UV_NO_CONFIG": "1",
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "NO_COLOR": "1",
        }


def explanation(said: str, lines: Sequence[Line]) -> str:
    """One sentence about why uv failed, which names the file and the line that it is about."""
    cause = _cause(said)
    for line in lines:
        name = re.escape(canonicalize_name(line.requirement.name)) if line.requirement else "(?!)"
        if re.search(rf"Because (there is no version of {name}\b|{name} was not found)", cause):
            return f"{line.file} names {line.package}, which no index has: {cause}"
    files = ", ".join(dict.fromkeys(line.file for line in lines)) or "the model"
    return f"The packages that {files} names can't be installed: {cause}"


def _cause(said: str) -> str:
    """uv's error on one line, without its title, frames and hints about the command line."""
    start = said.find("error:")
    text = said[start:] if start >= 0 else said
    lines = [re.sub(r"^[\s│├╰─▶×]+", "", line).strip() for line in text.splitlines()]
    lines = [re.sub(r"^(error|cause|Caused by): *", "", line, flags=re.I) for line in lines]
    kept = [line for line in lines if line and not line.startswith(("hint:", "help:"))]
    if len(kept) > 1 and kept[0].startswith("No solution found"):
        kept = kept[1:]
    end = ", we can conclude that your requirements are unsatisfiable."
    return " ".join(kept).removesuffix(end) or "uv gave no reason"


def _pin(change: re.Match[str]) -> str:
    """The exact requirement for one of uv's changes."""
    if change["url"]:
        return f"{change['name']} @ {change['url']}"
    return f"{change['name']}=={change['version']}"


def _uv_binary() -> str:
    import uv

    return str(uv.find_uv_bin())
