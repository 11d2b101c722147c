"""The pod template of a model, from `templates/pod.yaml.j2`."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from mlflow_model_operator.api import names, python_versions, quantity
from mlflow_model_operator.api.contract import (
    ACCESS_DIR,
    ACCESS_VOLUME,
    API_KEYS_FILE,
    BUILD_DOCKER_DIRS,
    CA_DIR,
    GRPC_PORT,
    HTTP_PORT,
    LIVENESS_PATH,
    METRICS_PORT,
    MODEL_DIR,
    READINESS_PATH,
    SHADOW_DIR,
    SHADOW_FILE,
    SHADOW_VOLUME,
    Variable,
)
from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject
from mlflow_model_operator.policy import allowed_formats, required_signatures
from mlflow_model_operator.render.engine import fill
from mlflow_model_operator.render.metadata import common_labels
from mlflow_model_operator.render.shadow import shadow_config_name
from mlflow_model_operator.settings import Settings

# The revision's name holds the template's hash, so the template can't: the pod reads its label.
_REVISION: KubeObject = {
    "name": Variable.REVISION.value,
    "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{names.REVISION}']"}},
}
# After the variable that it refers to.
_SHADOW: KubeObject = {"name": Variable.SHADOW_FILE.value, "value": SHADOW_FILE}
# For so long a terminating pod serves on: until endpoints and gateways have removed it.
PRE_STOP_PAUSE = 5  # seconds
SHUTDOWN_MARGIN = 5
PROBE_PERIOD = 2
# What requests in flight get at the most: a pod that nobody can end holds up its node's drain.
MAX_SHUTDOWN_TIMEOUT = 3600.0  # seconds
# The same in a custom image where requests have no timeout: it is waited for in any case.
CUSTOM_SHUTDOWN_TIMEOUT = 30.0


def pod_template(
    resource: MLflowModelDeployment, model: ModelVersion, settings: Settings
) -> KubeObject:
    """The pod template of a revision, without the label that holds the revision's name."""
    spec = resource.spec
    image = spec.server.image or scoring_image(model, settings)
    requests, limits = _resources(resource)
    shutdown = _shutdown_timeout(resource)
    # A custom image may exit at once on SIGTERM: its requests must have finished before.
    pause = PRE_STOP_PAUSE + (shutdown if spec.server.image else 0)
    return fill(
        "pod",
        labels={**_plain(spec.pod.labels), **common_labels(resource), **_callers_label(resource)},
        annotations={**_plain(spec.pod.annotations), **_model_annotations(model)},
        pod=spec.pod,
        plain=_plain,
        custom_image=spec.server.image is not None,
        image=image,
        pull_policy=_pull_policy(resource, settings),
        env=_environment(resource, model, settings, shutdown),
        requests=requests,
        limits=limits,
        port=HTTP_PORT,
        metrics_port=METRICS_PORT,
        grpc_port=GRPC_PORT if spec.server.grpc else None,
        period=PROBE_PERIOD,
        readiness_path=READINESS_PATH,
        # MLflow's own images, like most others, have no route for liveness alone.
        liveness_path=READINESS_PATH if spec.server.image else LIVENESS_PATH,
        startup_attempts=max(1, round(startup_seconds(resource) / PROBE_PERIOD)),
        pause=pause,
        grace=PRE_STOP_PAUSE + shutdown + SHUTDOWN_MARGIN,
        instance=resource.name,
        **_volumes(resource),
        **_secrets(resource),
        **_placement(resource),
    )


def scoring_image(model: ModelVersion, settings: Settings) -> str:
    """The scoring image for the model's Python version, or else the nearest.

    Whether that can load the model was decided before: see `Resolver._loadable`.
    """
    images = settings.scoring_images
    default = settings.default_python_version
    python = python_versions.nearest(model.python_version, images, default)
    return images[python] if python else ""


def startup_seconds(resource: MLflowModelDeployment) -> float:
    """How long a pod may take from its start until it is ready."""
    return quantity.seconds(resource.spec.server.startup_timeout)


def _volumes(resource: MLflowModelDeployment) -> dict[str, Any]:
    spec = resource.spec
    return {
        "model_dir": MODEL_DIR,
        "empty_dir": _empty_dir,
        "storage": spec.server.storage,
        "scratch": BUILD_DOCKER_DIRS if spec.server.image else {},
        "ca": spec.dependencies.ca_config_map,
        "ca_dir": CA_DIR,
        "shadow_volume": SHADOW_VOLUME,
        "shadow_config": shadow_config_name(resource),
        "shadow_dir": SHADOW_DIR,
    }


def _secrets(resource: MLflowModelDeployment) -> dict[str, Any]:
    return {
        "prepare_secret": resource.spec.model.credentials_secret,
        "server_secret": _server_secret(resource),
        "access": _access_volume(resource),
        "access_dir": ACCESS_DIR,
    }


def _placement(resource: MLflowModelDeployment) -> dict[str, Any]:
    pod, gpu = resource.spec.pod, resource.spec.gpu
    return {
        "node_selector": {**_plain(pod.node_selector), **_gpu_node_selector(resource)},
        "tolerations": _tolerations(resource),
        "runtime_class": gpu.runtime_class_name if gpu else None,
    }


def _server_secret(resource: MLflowModelDeployment) -> str | None:
    """The Secret for the container that runs the model: none, where another one fetches it."""
    spec = resource.spec
    fetches = spec.server.image is not None or spec.model.credentials_in_server
    return spec.model.credentials_secret if fetches else None


def _callers_label(resource: MLflowModelDeployment) -> dict[str, str]:
    is_restricted = resource.spec.access.callers_namespaces is not None
    return {names.CALLERS: names.CALLERS_RESTRICTED} if is_restricted else {}


def _access_volume(resource: MLflowModelDeployment) -> KubeObject | None:
    """The Secret with the API keys. It is not optional: without it no container starts."""
    keys = resource.spec.access.api_keys_secret
    if keys is None:
        return None
    file = API_KEYS_FILE.removeprefix(f"{ACCESS_DIR}/")
    # Naming the key lets the kubelet say that it is missing. Readable for the pod's group.
    secret = {
        "secretName": keys.name,
        "items": [{"key": keys.key, "path": file}],
        "defaultMode": 0o440,
    }
    return {"name": ACCESS_VOLUME, "secret": secret}


def _empty_dir(limit: str) -> dict[str, str]:
    """An emptyDir that may hold so much; Kubernetes has no limit where none is stated."""
    return {} if quantity.equal(limit, "0") else {"sizeLimit": limit}


def _pull_policy(resource: MLflowModelDeployment, settings: Settings) -> str | None:
    """When the image is pulled; None leaves it to Kubernetes, as for any other image."""
    server = resource.spec.server
    return server.image_pull_policy or (None if server.image else settings.image_pull_policy)


def _model_annotations(model: ModelVersion) -> dict[str, str]:
    """What tells a version from one that is registered again under the same number."""
    return {names.MODEL_CREATED: str(model.created)} if model.created is not None else {}


def _shutdown_timeout(resource: MLflowModelDeployment) -> int:
    """Requests in flight at SIGTERM get as much time as any request may take, within bounds."""
    timeout = quantity.seconds(resource.spec.routing.timeout)
    if not timeout:  # no limit
        is_custom = resource.spec.server.image is not None
        timeout = CUSTOM_SHUTDOWN_TIMEOUT if is_custom else MAX_SHUTDOWN_TIMEOUT
    return max(1, round(min(timeout, MAX_SHUTDOWN_TIMEOUT)))


def _environment(
    resource: MLflowModelDeployment, model: ModelVersion, settings: Settings, shutdown: int
) -> list[KubeObject]:
    """The operator's variables, then the user's, whose names are others (api/contract.py)."""
    values = _common_variables(resource, model, settings, shutdown)
    if resource.spec.server.image:
        values[Variable.MLFLOW_MODELS_WORKERS] = str(resource.spec.server.workers)
    if model.name is not None and model.uri != model.display_uri:
        values[Variable.MODEL_NAME], values[Variable.MODEL_VERSION] = model.name, model.version
    elif model.name is None and not resource.spec.server.image:
        # In metrics and protocols the resource's name stands for that of the model.
        values[Variable.MODEL_NAME] = resource.name
        values[Variable.MODEL_VERSION] = None if model.version == "-" else model.version
    values |= _access_variables(resource)
    values |= _policy_variables(resource, settings)
    values |= _gate_variables(resource)
    ours = [
        {"name": variable.value, "value": value}
        for variable, value in values.items()
        if value is not None
    ]
    revision = [] if resource.spec.server.image else [_REVISION, _SHADOW]
    return [*ours, *revision, *_plain(resource.spec.server.env)]


def _common_variables(
    resource: MLflowModelDeployment, model: ModelVersion, settings: Settings, shutdown: int
) -> dict[Variable, str | None]:
    """Those of all images; None for what is left out."""
    server, dependencies = resource.spec.server, resource.spec.dependencies
    ca = dependencies.ca_config_map
    ca_file = f"{CA_DIR}/{ca.key}" if ca else None
    return {
        Variable.MODEL_URI: model.uri,
        Variable.MODEL_DIR: MODEL_DIR,
        Variable.MLFLOW_TRACKING_URI: model.tracking_uri,
        Variable.WORKERS: str(server.workers),
        Variable.PORT: str(HTTP_PORT),
        Variable.GRPC_PORT: str(GRPC_PORT) if server.grpc else None,
        Variable.ONNX: "true" if server.onnx else None,
        Variable.STALENESS_COLUMN: server.staleness.column if server.staleness else None,
        Variable.SHUTDOWN_TIMEOUT: str(shutdown),
        Variable.HOME: "/tmp",
        Variable.INDEX_URL: dependencies.index_url,
        Variable.DEFAULT_INDEX_URL: None if dependencies.index_url else settings.index_url,
        Variable.FIND_LINKS: dependencies.find_links,
        Variable.CA_BUNDLE: ca_file,
        Variable.SSL_CERT_FILE: ca_file,
        Variable.REQUESTS_CA_BUNDLE: ca_file,
    }


def _access_variables(resource: MLflowModelDeployment) -> dict[Variable, str | None]:
    """What the server has to check."""
    access = resource.spec.access
    jwt, limit = access.jwt, access.rate_limit
    return {
        Variable.API_KEYS_FILE: API_KEYS_FILE if access.api_keys_secret else None,
        Variable.JWKS_URL: jwt.jwks_url if jwt else None,
        Variable.JWT_ISSUER: jwt.issuer if jwt else None,
        Variable.JWT_AUDIENCE: jwt.audience if jwt else None,
        Variable.JWT_SUBJECTS: " ".join(access.subjects) or None,
        Variable.RATE_LIMIT: str(limit.requests_per_second) if limit else None,
        Variable.RATE_BURST: str(limit.burst) if limit and limit.burst else None,
    }


def _policy_variables(
    resource: MLflowModelDeployment, settings: Settings
) -> dict[Variable, str | None]:
    """What the prepare step has to check of the model's files."""
    formats = allowed_formats(resource, settings.policy)
    signatures = required_signatures(resource, settings.policy)
    return {
        Variable.ALLOWED_FORMATS: None if formats is None else " ".join(formats),
        Variable.MODEL_SIGNATURES: json.dumps(signatures) if signatures else None,
    }


def _gate_variables(resource: MLflowModelDeployment) -> dict[Variable, str | None]:
    """What the server has to check of the model before it is ready."""
    example = resource.spec.rollout.gates.input_example
    if example is None or resource.spec.server.image is not None:
        return {}
    return {
        Variable.INPUT_EXAMPLE: "required" if example.required else "if-present",
        Variable.INPUT_EXAMPLE_TIMEOUT: str(example.seconds),
    }


def _resources(resource: MLflowModelDeployment) -> tuple[dict[str, Any], dict[str, Any]]:
    stated = resource.spec.server.resources
    requests, limits = _plain(stated.requests), _plain(stated.limits)
    gpu = resource.spec.gpu
    if gpu:
        # Extended resources can't be overcommitted: request and limit are the same.
        requests[gpu.resource] = limits[gpu.resource] = str(gpu.count)
    return requests, limits


def _gpu_node_selector(resource: MLflowModelDeployment) -> Any:
    return _plain(resource.spec.gpu.node_selector) if resource.spec.gpu else {}


def _tolerations(resource: MLflowModelDeployment) -> Any:
    gpu = resource.spec.gpu
    return _plain([*resource.spec.pod.tolerations, *(gpu.tolerations if gpu else ())])


def _plain(value: Any) -> Any:
    """Parts of the spec as the dictionaries that they were written as."""
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, exclude_none=True, mode="json")
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
