"""What users write: `spec` of an MLflowModelDeployment."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.schema import ATOMIC, SET, KubeModel, Rule, Schema, literal, map_by
from mlflow_model_operator.api.values import (
    AbsolutePath,
    AnnotationMap,
    ConfigKey,
    Duration,
    EnvName,
    ExtendedResource,
    Hostname,
    HttpUrl,
    ImageName,
    LabelMap,
    LabelName,
    ModelUriText,
    Native,
    NoPassword,
    ObjectName,
    Quantity,
    RoutePath,
)
from mlflow_model_operator.labels import GROUP

# What the operator itself sets in the containers, so that nobody's value is silently lost.
RESERVED_ENV = (
    "MODEL_URI",
    "MODEL_DIR",
    "MLFLOW_TRACKING_URI",
    "INDEX_URL",
    "FIND_LINKS",
    "CA_BUNDLE",
    "WORKERS",
    "PORT",
    "SHUTDOWN_TIMEOUT",
    "HOME",
)
RESERVED_VOLUMES = ("model", "tmp", "ca")
RESERVED_PATHS = ("/model", "/tmp", "/ca")
RESERVED_LABELS = (
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
)


class Model(KubeModel):
    """The model to serve."""

    uri: ModelUriText = Field(
        description=(
            "Which model to serve: models:/<name>@<alias>, models:/<name>/<version>, "
            "models:/<name>/latest, models:/<name>/<stage>, models:/m-<id> (a logged model), "
            "runs:/<run id>/<path>, a storage URI (s3://, gs://, abfss://, wasbs://, dbfs:/, "
            "mlflow-artifacts:/, http://, …) or an absolute path on a volume of spec.pod.volumes. "
            "An alias, a stage and latest are followed: when they come to mean another version, "
            "that version takes over."
        ),
    )
    tracking_uri: Annotated[HttpUrl, NoPassword] | None = Field(
        default=None,
        description=(
            "The MLflow tracking server (and registry) that knows the model, like "
            "http://mlflow.mlflow:5000. Left out, the operator's own setting is used."
        ),
    )
    credentials_secret: ObjectName | None = Field(
        default=None,
        description=(
            "The name of a Secret in the same namespace whose keys become environment variables "
            "of the pods, like MLFLOW_TRACKING_TOKEN or AWS_SECRET_ACCESS_KEY."
        ),
    )


class EnvVar(KubeModel):
    """One environment variable of the server's containers."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.value) && has(self.valueFrom))",
            "a variable has one source: write value or valueFrom, not both",
        ),
        Rule(
            f"!(self.name in {list(RESERVED_ENV)})",
            "the operator sets this variable itself: use the field of spec that it comes from "
            "(model.uri, model.trackingUri, server.workers, dependencies) instead",
            field_path=".name",
        ),
    )

    name: EnvName = Field(description="The variable's name.")
    # Linux refuses to start a program with a variable of more than 128 KiB.
    value: Annotated[str, Field(max_length=130_000)] | None = Field(
        default=None, description="The variable's value, as it is."
    )
    value_from: Native | None = Field(
        default=None,
        description=(
            "Where the value comes from, in the shape of the Kubernetes API (secretKeyRef, "
            "configMapKeyRef, fieldRef, resourceFieldRef)."
        ),
    )


Resources = Annotated[dict[str, Quantity], Field(max_length=16)]


class ResourceRequirements(KubeModel):
    """What a pod gets of CPU and memory."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.requests) || !has(self.limits) || self.requests.all(name, "
            "!(name in self.limits) || !isQuantity(string(self.requests[name])) || "
            "!isQuantity(string(self.limits[name])) || !quantity(string(self.requests[name]))"
            ".isGreaterThan(quantity(string(self.limits[name]))))",
            "a request is above its limit: raise the limit or lower the request",
        ),
    )

    requests: Resources = Field(
        default_factory=dict,
        description="What is reserved for each pod, by resource: cpu, memory, ephemeral-storage.",
    )
    limits: Resources = Field(
        default_factory=dict,
        description="What each pod may use at most, by resource.",
    )


class Server(KubeModel):
    """How the model is served."""

    RULES: ClassVar[tuple[Rule, ...]] = ()

    image: ImageName | None = Field(
        default=None,
        description=(
            "The image to run instead of the operator's scoring image: one built from the scoring "
            "image, one made by `mlflow models build-docker`, or any other that answers MLflow's "
            "protocol (POST /invocations, GET /ping) on port 8080. It gets MODEL_URI and "
            "MLFLOW_TRACKING_URI and runs by its own entrypoint. Left out, the scoring image for "
            "the model's own Python version is used."
        ),
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Server processes in each pod; each loads the model once.",
    )
    env: Annotated[list[EnvVar], Field(max_length=128), map_by("name")] = Field(
        default_factory=list,
        description="Environment variables of the pods, in the shape of the Kubernetes API.",
    )
    resources: ResourceRequirements = Field(
        default=ResourceRequirements(
            requests={"cpu": "500m", "memory": "1Gi"}, limits={"memory": "2Gi"}
        ),
        description=(
            "What each pod gets of CPU and memory. Written in part, nothing is added: the "
            "defaults hold only where resources is left out. GPUs go into spec.gpu."
        ),
    )
    startup_timeout: Annotated[
        Duration,
        Schema(
            Rule(
                f"!{matches_duration()} || (duration(self) >= duration('10s') "
                "&& duration(self) <= duration('24h'))"
                if False
                else "true",
                "",
            )
        ),
    ] = Field(
        default="10m",
        description=(
            "How long a new pod may take to fetch, install and load the model before the rollout "
            "counts as failed."
        ),
    )
