"""Which sources a model's requirements may name.

A model's files come from whoever registered it. Where the administrator names an index, packages
come from there; nothing is built from source unless the administrator allows it, since a build
runs code beside the credentials of the prepare step.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlflow_model_server.prepare.requirements import Line, ModelRequirements
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings

_VCS = ("git", "hg", "svn", "bzr")
_NO_BUILD = (
    "and packages are not built here: use a wheel, or set "
    "ALLOW_SOURCE_BUILDS=true, which runs the code of such packages in the "
    "init container"
)


def check(settings: Settings, needed: ModelRequirements) -> None:
    """Raises StartupError for a line with a source that these settings don't allow."""
    _check_formats(settings, needed)
    for line in (*needed.lines, *needed.constraints):
        if line.url:
            for refusal in _refusals(settings, line):
                raise StartupError("DependencyInstallFailed", f"{line.where} {refusal}")
    for option in needed.index_options:
        path = _local_path(option.partition("=")[2])
        if option.startswith("--find-links=") and path and not _is_local(settings, path):
            raise StartupError(
                "DependencyInstallFailed",
                "The model's requirements name a folder outside the model's own as --find-links: "
                "put the packages into the model's folder, or set FIND_LINKS",
            )


def _check_formats(settings: Settings, needed: ModelRequirements) -> None:
    """Packages that a model brings itself, or names the place of, are its code."""
    if not settings.allowed_formats or "code" in settings.allowed_formats:
        return
    places = [line.where for line in (*needed.lines, *needed.constraints) if line.url]
    if not (settings.index_url or settings.no_index):  # else they don't count
        places += [
            f"{option.partition('=')[0]} in the model's requirements"
            for option in needed.index_options
            if option != "--no-index"
        ]
    for place in places:
        raise StartupError(
            "PolicyDenied",
            f"{place} gives the location of a package, which has the format code, "
            f"but only {', '.join(settings.allowed_formats)} are allowed: write the "
            "package's name and version only",
        )


def _refusals(settings: Settings, line: Line) -> Iterator[str]:
    scheme = urlsplit(line.url).scheme.partition("+")[0]
    path = _local_path(line.url)
    if path is None and (settings.index_url or settings.no_index):
        if not settings.allow_direct_urls:
            yield (
                "names a URL, and packages come from INDEX_URL or FIND_LINKS only: publish the "
                "package there and write its name and version, or set ALLOW_DIRECT_URLS=true"
            )
    elif path is not None and not _is_local(settings, path):
        yield (
            "names a file outside the model's folder: put it there, or write the package's name "
            "and version"
        )
    if scheme in _VCS and not settings.allow_source_builds:
        yield f"names a repository, {_NO_BUILD}"
    elif scheme in _VCS and shutil.which(scheme) is None:
        yield (
            f"names a {scheme} repository, and the image has no {scheme}: publish a "
            "wheel of the package, or use your own image, based on this one, with "
            f"{scheme} installed"
        )
    elif not _is_wheel(line.url) and not settings.allow_source_builds:
        yield f"names a source package, {_NO_BUILD}"


def _local_path(url: str) -> Path | None:
    """The path in a file: URL, or of a plain path; None for anything else."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(url) if url.startswith("/") else None


def _is_local(settings: Settings, path: Path) -> bool:
    """Whether it is in the model's folder, or in one that the administrator named."""
    links = [Path(link) for link in settings.find_links if link.startswith("/")]
    folders = [settings.artifact, *links]
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)


def _is_wheel(url: str) -> bool:
    return url.partition(";")[0].strip().partition("#")[0].partition("?")[0].endswith(".whl")
