"""The model that a live Deployment serves, read back from its pod template. Pure.

The template never changes, so this holds even where the resource's status is lost.
"""

from __future__ import annotations

from typing import Any

from mlflow_model_operator.api import names, uri
from mlflow_model_operator.api.contract import SERVER_CONTAINER, Variable
from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.kube.objects import KubeObject, name_of
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.settings import Settings


def live_revision(deployment: KubeObject, settings: Settings) -> Revision | None:
    """The revision of a live Deployment; None where it is none of ours."""
    template = deployment.get("spec", {}).get("template") or {}
    containers = template.get("spec", {}).get("containers") or ()
    server: KubeObject = next((c for c in containers if c["name"] == SERVER_CONTAINER), {})
    values = {entry["name"]: entry.get("value") for entry in server.get("env") or ()}
    try:
        registered = _registered(values.get(Variable.MODEL_URI) or "", values)
    except (uri.InvalidModelUri, KeyError):  # edited, or somebody else's
        return None
    model = ModelVersion(
        requested=values[Variable.MODEL_URI],
        uri=values[Variable.MODEL_URI],
        version=registered[1],
        tracking_uri=values.get(Variable.MLFLOW_TRACKING_URI),
        name=registered[0],
        python_version=_python_version(server.get("image"), settings),
        created=_created(template),
    )
    return Revision(name_of(deployment), model)


def _python_version(image: str | None, settings: Settings) -> str | None:
    return next((minor for minor, entry in settings.scoring_images.items() if entry == image), None)


def _created(template: KubeObject) -> int | None:
    annotations = template.get("metadata", {}).get("annotations") or {}
    text = annotations.get(names.MODEL_CREATED) or ""
    return int(text) if text.isdecimal() else None


def _registered(model_uri: str, values: dict[str, Any]) -> tuple[str | None, str]:
    """The registered model's name, if it is one, and the version as people know it."""
    match uri.parse(model_uri):
        case uri.RegisteredVersion(name, version):
            return name, version
        case uri.LoggedModel(model_id):
            version = values.get(Variable.MODEL_VERSION) or ""
            is_registered = version.isdecimal()
            return (values[Variable.MODEL_NAME], version) if is_registered else (None, model_id)
        case uri.RunModel(run_id):
            return None, run_id
        case _:
            return None, "-"
