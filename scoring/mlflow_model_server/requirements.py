"""Which packages a model's own files name. The files are those that MLflow writes.

MLflow's order is kept: `python_env.yaml` (which refers to `requirements.txt`) first, then
`conda.yaml`, then `requirements.txt` alone. See
https://mlflow.org/docs/latest/ml/model/dependencies/.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

log = logging.getLogger(__name__)

# mlflow-skinny is the same code with fewer dependencies: no tracking server, no database.
SKINNY = "mlflow-skinny"
# Before 3.0 the scoring application was another one; the image's newer MLflow loads older models.
FIRST_SERVABLE = 3


@dataclass
class Wanted:
    """What the files ask for."""

    python: str | None = None  # "3.11.7"
    lines: list[str] = field(default_factory=list)  # as in a requirements file
    constraints: list[str] = field(default_factory=list)


def read(model: Path) -> Wanted:
    """Reads a model folder's environment files; paths in them are taken from that folder."""
    wanted = Wanted()
    python_env, conda = model / "python_env.yaml", model / "conda.yaml"
    if python_env.is_file():
        _read_python_env(python_env, wanted)
    elif conda.is_file():
        _read_conda(conda, wanted)
    elif (model / "requirements.txt").is_file():
        _read_lines(model, "requirements.txt", wanted)
    wanted.lines = [line for raw in wanted.lines if (line := _with_skinny(raw))]
    return wanted


def simple(line: str) -> Requirement | None:
    """The requirement of a line, or None where it is something else (an option, a path)."""
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _read_python_env(path: Path, wanted: Wanted) -> None:
    content = _yaml(path)
    wanted.python = content.get("python")
    for line in content.get("dependencies") or ():
        _take(path.parent, str(line), wanted)


def _read_conda(path: Path, wanted: Wanted) -> None:
    for entry in _yaml(path).get("dependencies") or ():
        if isinstance(entry, dict):
            for line in entry.get("pip") or ():
                _take(path.parent, str(line), wanted)
        elif str(entry).startswith("python") and not str(entry)[6:7].isalpha():
            wanted.python = str(entry)[6:].strip("= ") or None
        elif canonicalize_name(str(entry).split("=")[0].split("<")[0].strip()) != "pip":
            log.warning("conda.yaml names the conda package %r: only its pip section counts", entry)


def _read_lines(model: Path, name: str, wanted: Wanted) -> None:
    for line in (model / name).read_text(encoding="utf-8").splitlines():
        _take(model, line, wanted)


def _take(model: Path, line: str, wanted: Wanted) -> None:
    """Takes one line of a requirements file, following -r and -c into other files."""
    line = line.split(" #")[0].strip()
    option, _, value = line.partition(" ")
    if not line or line.startswith("#"):
        return
    if option in ("-r", "--requirement"):
        _read_lines(model, value.strip(), wanted)
    elif option in ("-c", "--constraint"):
        text = (model / value.strip()).read_text(encoding="utf-8")
        wanted.constraints += [one for one in map(str.strip, text.splitlines()) if one]
    else:
        wanted.lines.append(line)


def _with_skinny(line: str) -> str | None:
    """`mlflow==3.17.2` is provided by `mlflow-skinny==3.17.2`; None where the image's own stays."""
    requirement = simple(line)
    if requirement is None or canonicalize_name(requirement.name) not in ("mlflow", SKINNY):
        return line
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    oldest = f"{FIRST_SERVABLE}.0.0"
    pins = [one.version for one in requirement.specifier if one.operator in ("==", "===")]
    if pins and int(pins[0].split(".")[0]) < FIRST_SERVABLE:
        log.warning("%s is older than %s: served by the image's own MLflow", line, oldest)
        return None
    return f"{SKINNY}{requirement.specifier}"


def _yaml(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def warn_of_python(wanted: Wanted) -> None:
    """Says so when the model was logged with another Python than this image's."""
    if wanted.python is None:
        return
    theirs, ours = wanted.python.split(".")[:2], [str(n) for n in sys.version_info[:2]]
    if theirs != ours:
        log.warning(
            "the model was logged with Python %s, this image has %s: if it does not load, give "
            "the operator a scoring image with Python %s",
            wanted.python,
            ".".join(ours),
            ".".join(theirs),
        )
