"""A model's age and environment, by its own files."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Collection
from pathlib import Path

from packaging.utils import canonicalize_name

from mlflow_model_server import compat
from mlflow_model_server.prepare import installed, requirements
from mlflow_model_server.prepare.requirements import Line
from mlflow_model_server.runtime.termination import StartupError

log = logging.getLogger(__name__)

_CREATED = re.compile(r"^utc_time_created: *['\"]?([^'\"\n]+)", re.M)


def created(artifact: Path) -> float | None:
    """When the model was made, as Unix time, by its MLmodel file; None if it does not say."""
    match = _CREATED.search((artifact / "MLmodel").read_text("utf-8"))
    try:
        moment = compat.moment(match[1].strip()) if match else None
    except ValueError:
        return None
    return moment.replace(tzinfo=compat.UTC).timestamp() if moment else None


def matches(artifact: Path, variables: Collection[str] = ()) -> bool:
    """Whether Python and all packages are as the model's files require; logs the differences.

    mlflow-skinny of a version counts as mlflow of that version: it is the same code.
    """
    differences = _differences(artifact, variables)
    if differences:
        log.warning(
            "the environment does not match the requirements in the model's files: %s", differences
        )
    return not differences


def _differences(artifact: Path, variables: Collection[str]) -> str:
    import yaml

    try:
        mlmodel = yaml.safe_load((artifact / "MLmodel").read_text("utf-8"))
        required = requirements.read(artifact, mlmodel, variables)
    except (StartupError, OSError, ValueError, yaml.YAMLError) as error:
        return str(error)
    ours = ".".join(map(str, sys.version_info[:2]))
    theirs = ".".join((required.python or ours).split(".")[:2])
    python = [f"Python {theirs}, but this is {ours}"] if theirs != ours else []
    return ", ".join([*python, *(line.package for line in required.lines if not _has(line))])


def _has(line: Line) -> bool:
    if line.requirement is None:
        return line.text.startswith("-")  # an option: no package
    if canonicalize_name(line.requirement.name) == "mlflow-tracing":
        return True  # a part of mlflow-skinny
    return installed.servable(line) is not None and installed.has(line)
