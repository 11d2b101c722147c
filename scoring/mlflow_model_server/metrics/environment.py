"""What a model's own files say of its age and environment."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from packaging.utils import canonicalize_name

from mlflow_model_server.prepare import installed, requirements
from mlflow_model_server.prepare.requirements import Line
from mlflow_model_server.runtime.termination import Failed

log = logging.getLogger(__name__)

_CREATED = re.compile(r"^utc_time_created: *['\"]?([^'\"\n]+)", re.M)


def created(artifact: Path) -> float | None:
    """When the model was made, as Unix time, by its MLmodel file; None if it does not say."""
    found = _CREATED.search((artifact / "MLmodel").read_text("utf-8"))
    try:
        moment = datetime.fromisoformat(found[1].strip()) if found else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC).timestamp() if moment else None


def as_pinned(artifact: Path, variables: Collection[str] = ()) -> bool:
    """Whether Python and the packages are those which the model's files name; logs what differs.

    mlflow-skinny of a version counts as mlflow of that version: it is the same code.
    """
    different = _differences(artifact, variables)
    if different:
        log.warning("the environment is not as the model's files name it: %s", different)
    return not different


def _differences(artifact: Path, variables: Collection[str]) -> str:
    import yaml

    try:
        mlmodel = yaml.safe_load((artifact / "MLmodel").read_text("utf-8"))
        wanted = requirements.read(artifact, mlmodel, variables)
    except (Failed, OSError, ValueError, yaml.YAMLError) as error:
        return str(error)
    ours = ".".join(map(str, sys.version_info[:2]))
    theirs = ".".join((wanted.python or ours).split(".")[:2])
    python = [f"Python {theirs}, and this is {ours}"] if theirs != ours else []
    return ", ".join([*python, *(line.package for line in wanted.lines if not _has(line))])


def _has(line: Line) -> bool:
    if line.requirement is None:
        return line.text.startswith("-")  # an option: no package
    if canonicalize_name(line.requirement.name) == "mlflow-tracing":
        return True  # a part of mlflow-skinny
    ours = installed.with_skinny(line)
    return ours is not None and installed.has(ours)
