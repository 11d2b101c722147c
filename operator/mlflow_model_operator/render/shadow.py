"""The ConfigMap that tells the pods of the stable revision where to send copies of requests."""

from __future__ import annotations

import json

from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject
from mlflow_model_operator.render.engine import fill
from mlflow_model_operator.render.metadata import common_labels, object_metadata
from mlflow_model_operator.rollout import Shadow
from mlflow_model_operator.rollout.state import Revision


def shadow_config_name(resource: MLflowModelDeployment) -> str:
    """The name of the ConfigMap, which the pods of all revisions mount if it exists."""
    return f"{resource.name}-shadow"


def shadow_config(resource: MLflowModelDeployment, stable: Revision, shadow: Shadow) -> KubeObject:
    """The ConfigMap. Its only key is the file of the stable revision: no others send copies.

    The host is a name of one label: it is looked up in the pods' own namespace first, and the pods
    accept no other.
    """
    name = shadow.revision.name
    content = {
        "revision": name,
        "modelVersion": shadow.revision.model.version,
        "url": f"http://{name}:80",
        "percent": shadow.percent,
        "timeoutSeconds": shadow.timeout,
        "maxBodyBytes": shadow.max_body_bytes,
        "examples": shadow.examples,
    }
    return fill(
        "config_map",
        metadata=object_metadata(resource, shadow_config_name(resource), common_labels(resource)),
        data={f"{stable.name}.json": json.dumps(content)},
    )
