"""Installs exactly what a model's files name, and nothing that the image has already.

uv resolves, with the image's own versions as its preferences, so that packages which the files
leave open stay those of the image. What differs from it goes into a folder of its own, which comes
first on the path.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlflow_model_server import requirements
from mlflow_model_server.settings import Settings
from mlflow_model_server.termination import Failed

log = logging.getLogger(__name__)

MOST_ERROR_LINES = 12


def install(settings: Settings) -> None:
    """Installs into `settings.packages` what the model needs beyond the image.

    Raises Failed with DependencyInstallFailed and uv's own explanation.
    """
    wanted = requirements.read(settings.artifact)
    requirements.warn_of_python(wanted)
    shutil.rmtree(settings.packages, ignore_errors=True)
    have = _image_packages()
    if all(_is_there(line, have) for line in wanted.lines):
        log.info("the image has all %d packages that the model names", len(wanted.lines))
        return
    missing = _difference(_resolve(settings, wanted, have), have)
    if missing:
        log.info("installing %s", ", ".join(missing))
        _install(settings, missing)


def _image_packages() -> dict[str, str]:
    """Name → version of all that the image has."""
    return {
        canonicalize_name(found.metadata["Name"]): found.version
        for found in metadata.distributions()
        if found.metadata["Name"]
    }


def _is_there(line: str, have: dict[str, str]) -> bool:
    requirement = requirements.simple(line)
    if requirement is None or requirement.url:
        return False
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    version = have.get(canonicalize_name(requirement.name))
    if version is None or not requirement.specifier.contains(version, prereleases=True):
        return False
    return not requirement.extras or _extras_are_there(requirement, have)


def _extras_are_there(requirement: Requirement, have: dict[str, str]) -> bool:
    """Whether what the extras of a package bring is there too, one level deep."""
    for line in metadata.requires(requirement.name) or ():
        needed = Requirement(line)
        asked = any(
            needed.marker is not None and needed.marker.evaluate({"extra": extra})
            for extra in requirement.extras
        )
        plain = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if asked and not plain and canonicalize_name(needed.name) not in have:
            return False
    return True


def _resolve(settings: Settings, wanted: requirements.Wanted, have: dict[str, str]) -> list[str]:
    """All packages with exact versions, as uv resolves them for this interpreter."""
    folder = settings.model_dir
    asked, constraints = folder / "requirements.in", folder / "constraints.in"
    resolved = folder / "requirements.resolved"
    asked.write_text("\n".join(wanted.lines) + "\n")
    constraints.write_text("\n".join(wanted.constraints) + "\n")
    # uv keeps the versions of an output file that is there already, wherever they fit.
    resolved.write_text("".join(f"{name}=={version}\n" for name, version in have.items()))
    _uv(
        settings,
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--no-annotate",
        f"--python={sys.executable}",
        f"--constraints={constraints}",
        f"--output-file={resolved}",
        str(asked),
        cwd=settings.artifact,
    )
    lines = resolved.read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-"))]


def _difference(resolved: list[str], have: dict[str, str]) -> list[str]:
    """What was resolved and is not in the image in that very version."""
    return [line for line in resolved if not _is_there(line, have)]


def _install(settings: Settings, missing: list[str]) -> None:
    listed = settings.model_dir / "requirements.missing"
    listed.write_text("\n".join(missing) + "\n")
    _uv(
        settings,
        "pip",
        "install",
        "--quiet",
        "--no-deps",  # the resolution is complete
        "--compile-bytecode",  # else the first import pays, and the server may not write
        f"--python={sys.executable}",
        f"--target={settings.packages}",
        f"--requirement={listed}",
        cwd=settings.artifact,
    )


def _uv(settings: Settings, *arguments: str, cwd: Path) -> None:
    command = [_uv_binary(), *arguments]
    if settings.index_url:
        command.append(f"--index-url={settings.index_url}")
    if settings.find_links:
        command.append(f"--find-links={settings.find_links}")
    done = subprocess.run(
        command, cwd=cwd, env=_uv_environment(settings), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Failed("DependencyInstallFailed", _explanation(done.stderr))


def _uv_binary() -> str:
    import uv

    return str(uv.find_uv_bin())


def _uv_environment(settings: Settings) -> dict[str, str]:
    env = {
        **os.environ,
        "UV_CACHE_DIR": str(settings.model_dir / "uv-cache"),
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_PROGRESS": "1",
        "UV_LINK_MODE": "hardlink",
    }
    if settings.ca_bundle:
        env["SSL_CERT_FILE"] = settings.ca_bundle
    return env


def _explanation(stderr: str) -> str:
    """uv's last lines, which hold the reason, on one line."""
    lines = [line.strip(" │├╰─▶×") for line in stderr.splitlines() if line.strip()]
    text = " ".join(lines[-MOST_ERROR_LINES:])
    return f"The model's packages can't be installed: {text or 'uv gave no reason'}"
