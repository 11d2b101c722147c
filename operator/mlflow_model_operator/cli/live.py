"""What the cluster has of a resource, and its operator's settings, read with kubectl."""

from __future__ import annotations

from typing import Any

from mlflow_model_operator.cli.kubectl import CommandError, Kubectl, MissingResource
from mlflow_model_operator.cli.manifest import Manifest
from mlflow_model_operator.cli.planning import LiveState, settings_of, with_image
from mlflow_model_operator.cli.view import selector
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.objects import LiveChildren, name_of
from mlflow_model_operator.kube.transform import transform
from mlflow_model_operator.settings import Settings

Json = dict[str, Any]

OPERATOR = "app.kubernetes.io/name=mlflow-model-operator"
NO_SETTINGS = (
    "The operator's Deployment could not be read; its settings come from the environment "
    "(MLFLOW_TRACKING_URI, MMO_SCORING_IMAGES) or are the defaults"
)


def live_state(kubectl: Kubectl, manifest: Manifest) -> LiveState:
    """The resource, its children and the settings. Raises CommandError."""
    resource = manifest.resource
    scoped = Kubectl([*kubectl.flags, f"--namespace={resource.namespace}"], kubectl.program)
    settings = _operator_settings(kubectl)
    notes = () if settings else (NO_SETTINGS,)
    usable = with_image(settings or settings_of(None))
    try:
        live = scoped.resource(resource.name)
    except MissingResource:
        return LiveState(None, LiveChildren(), usable, notes)
    return LiveState(live, _children(scoped, resource.name), usable, notes)


def _children(kubectl: Kubectl, name: str) -> LiveChildren:
    children = LiveChildren()
    for kind in (*kinds.CHILDREN, *kinds.UNWATCHED_CHILDREN):
        plural = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        for obj in _objects(kubectl, plural, name):
            children.of_kind(kind.kind)[name_of(obj)] = transform(obj)
    return children


def _objects(kubectl: Kubectl, plural: str, name: str) -> list[Json]:
    try:
        return kubectl.objects(plural, f"--selector={selector(name)}")
    except CommandError as error:
        if "the server doesn't have a resource type" in str(error):
            return []  # a cluster without the Gateway API
        raise


def _operator_settings(kubectl: Kubectl) -> Settings | None:
    """By the variables of the operator's Deployment; None where it can't be read."""
    try:
        deployments = kubectl.objects("deployments", "--all-namespaces", f"--selector={OPERATOR}")
    except CommandError:
        return None
    for deployment in deployments:
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            env = {e["name"]: e["value"] for e in container.get("env") or () if "value" in e}
            if "MMO_SCORING_IMAGES" in env:
                return settings_of(env)
    return None
