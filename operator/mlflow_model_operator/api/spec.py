"""`spec` of an MLflowModelDeployment, which users write."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field

from mlflow_model_operator.api import contract, quantity
from mlflow_model_operator.api.contract import (
    ACCESS_DIR,
    CA_DIR,
    GRPC_PORT,
    HTTP_PORT,
    MODEL_DIR,
    RESERVED_VOLUMES,
    SHADOW_DIR,
    Variable,
)
from mlflow_model_operator.api.match_fields import Matches, RequestMatch, Sticky, Variants
from mlflow_model_operator.api.names import GROUP
from mlflow_model_operator.api.registry_fields import (
    FlapProtection,
    FreezeWindow,
    OnSuccess,
    RegistryWrites,
)
from mlflow_model_operator.api.schema import (
    ATOMIC,
    SET,
    KubeModel,
    Rule,
    Schema,
    literal,
    map_by,
    matches,
)
from mlflow_model_operator.api.shadow_fields import Shadow, ShadowCopies, ShadowLimits
from mlflow_model_operator.api.values import (
    AbsolutePath,
    AnnotationMap,
    Certificate,
    Claim,
    ConfigKey,
    Duration,
    EnvName,
    ExtendedResource,
    FindLinks,
    Hostname,
    ImageName,
    IndexUrl,
    JwksUrl,
    LabelMap,
    LabelName,
    ModelUriText,
    Native,
    ObjectName,
    PrometheusUrl,
    PublicKey,
    Quantity,
    RoutePath,
    SourcePattern,
    TrackingUri,
)

_RESERVED_PATHS = f"/|({MODEL_DIR}|{CA_DIR}|{ACCESS_DIR}|{SHADOW_DIR})(/.*)?|/tmp/?"
# For CEL: the fields of spec to write instead of variables that the operator sets.
_FIELDS = literal(contract.FIELDS)
RESERVED_LABELS = (
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
)


Replicas = Annotated[int, Field(ge=0, le=1000)]
STARTUP_TIME = Schema(
    Rule(
        f"!{matches(quantity.DURATION)} || "
        "(duration(self) >= duration('10s') && duration(self) <= duration('24h'))",
        "write a time from 10s to 24h, like 10m",
    )
)


class Model(KubeModel):
    """The model to serve."""

    uri: ModelUriText = Field(
        description=(
            "The model URI: models:/<name>@<alias>, models:/<name>/<version>, "
            "models:/<name>/latest, models:/<name>/<stage>, models:/m-<id> (a "
            "logged model), runs:/<run id>/<path>, a storage URI (s3://, gs://, "
            "abfss://, wasbs://, dbfs:/, mlflow-artifacts:/, http://, …) or an "
            "absolute path on a volume of spec.pod.volumes. The operator follows "
            "aliases, stages and latest: when they resolve to another version, that "
            "version takes over."
        ),
    )
    tracking_uri: TrackingUri | None = Field(
        default=None,
        description=(
            "The MLflow tracking server (and model registry) of the model, like "
            "http://mlflow.mlflow:5000. Defaults to the operator's tracking server."
        ),
    )
    credentials_secret: ObjectName | None = Field(
        default=None,
        description=(
            "The name of a Secret in the same namespace whose keys become "
            "environment variables of the init container, which downloads the model "
            "and installs its packages. Examples: MLFLOW_TRACKING_TOKEN, "
            "AWS_SECRET_ACCESS_KEY."
        ),
    )
    credentials_in_server: bool = Field(
        default=False,
        description=(
            "Whether the server container, which runs the model's own code, also "
            "receives the variables of credentialsSecret. Set it for models that "
            "need them while they load or predict. A custom image (server.image) "
            "always receives them, because it downloads the model itself."
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
            f"!(self.name in {[name.value for name in Variable]})",
            "set by the operator: leave it out, or write the field of spec that it comes from. "
            f"The operator sets {', '.join(Variable)}",
            message_expression=f"self.name + ' is set by the operator: ' + (self.name in {_FIELDS} "
            f"? 'write ' + {_FIELDS}[self.name] + ' instead' : 'leave it out')",
            field_path=".name",
        ),
    )

    name: Annotated[EnvName, AfterValidator(contract.check_variable)] = Field(
        description="The variable's name."
    )
    # Linux refuses to start a program with a variable of more than 128 KiB.
    value: Annotated[str, Field(max_length=130_000)] | None = Field(
        default=None, description="The variable's value, used literally."
    )
    value_from: Native | None = Field(
        default=None,
        description=(
            "The source of the value, as in the Kubernetes API (secretKeyRef, "
            "configMapKeyRef, fieldRef, resourceFieldRef)."
        ),
    )


Resources = Annotated[dict[str, Quantity], Field(max_length=16)]


class ResourceRequirements(KubeModel):
    """The CPU and memory of a pod."""

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
        description="The resources reserved for each pod, by name: cpu, memory, ephemeral-storage.",
    )
    limits: Resources = Field(
        default_factory=dict,
        description="The maximum that each pod can use, by name of the resource.",
    )


class Storage(KubeModel):
    """How much a pod can write to its node's disk."""

    model: Quantity = Field(
        default="50Gi",
        description="The limit for the model's files and packages; 0 means no limit.",
    )
    tmp: Quantity = Field(
        default="10Gi",
        description="The limit for /tmp, and for logs of a custom image; 0 means no limit.",
    )


class Staleness(KubeModel):
    """Which column of requests says how old their features are."""

    column: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        description=(
            "The column with the time at which the features of the row were computed: a date and "
            "time, a number of seconds since 1970, or text in ISO 8601."
        )
    )


class Server(KubeModel):
    """How the model is served."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.image) || !has(self.grpc) || !self.grpc",
            "only the scoring image serves gRPC: leave out grpc, or leave out image",
            field_path=".grpc",
        ),
        Rule(
            "!has(self.image) || !has(self.onnx) || !self.onnx",
            "only the scoring image converts to ONNX: leave out onnx, or leave out image",
            field_path=".onnx",
        ),
        Rule(
            "!has(self.image) || !has(self.staleness)",
            "only the scoring image measures the age of features: leave out staleness, or leave "
            "out image",
            field_path=".staleness",
        ),
    )

    image: ImageName | None = Field(
        default=None,
        description=(
            "The image to run instead of the operator's scoring image: an image "
            "built from the scoring image, by `mlflow models build-docker`, or any "
            "other that serves MLflow's protocol (POST /invocations, GET /ping) on "
            f"port {HTTP_PORT}. It receives MODEL_URI and MLFLOW_TRACKING_URI, and "
            "runs its own entrypoint. Defaults to the scoring image for the model's "
            "Python version."
        ),
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None,
        description=(
            "When the kubelet pulls the image. Defaults to the chart's "
            "scoringImagePullPolicy for scoring images, and to Kubernetes' own rule "
            "for server.image: Always for the tag latest and without a tag, "
            "otherwise IfNotPresent."
        ),
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="The number of server processes in each pod; each of them loads the model.",
    )
    grpc: bool = Field(
        default=False,
        description=(
            "Whether to also serve the Open Inference Protocol over gRPC, on port "
            f"{GRPC_PORT} of the Service and through the gateway. With a gateway, "
            "routing.path must be /."
        ),
    )
    onnx: bool = Field(
        default=False,
        description=(
            "Whether to convert a scikit-learn model to ONNX, and to use ONNX "
            "Runtime if its predictions agree with the model's on the input example "
            "and on rows synthesized from it. Otherwise the original model is "
            "served; the pod's log and metrics report the result and the reason."
        ),
    )
    staleness: Staleness | None = Field(
        default=None,
        description=(
            "Measure how old the features of requests are, as the metric "
            "mlflow_model_server_feature_age_seconds. Changing it creates new pods."
        ),
    )
    env: Annotated[list[EnvVar], Field(max_length=128), map_by("name")] = Field(
        default_factory=list,
        description="Environment variables of the pods, as in the Kubernetes API.",
    )
    resources: ResourceRequirements = Field(
        default=ResourceRequirements(
            requests={"cpu": "500m", "memory": "1Gi"}, limits={"memory": "2Gi"}
        ),
        description=(
            "The CPU and memory of each pod. The defaults apply only if resources "
            "is omitted as a whole. Set GPUs in spec.gpu."
        ),
    )
    storage: Storage = Field(
        default=Storage(),
        description=(
            "How much each pod can write to its node's disk: the node evicts a pod "
            "that writes more, and another one is started. Nothing is reserved; to "
            "reserve disk space, set resources.requests.ephemeral-storage."
        ),
    )
    startup_timeout: Annotated[Duration, STARTUP_TIME] = Field(
        default="10m",
        description=(
            "How long a new pod can take to download, install and load the model "
            "before the rollout is considered failed, like 90s, 10m or 1h30m: at "
            "least 10s, at most 24h. Changing it creates new pods."
        ),
    )

    @property
    def startup_seconds(self) -> float:
        """startupTimeout in seconds."""
        return quantity.seconds(self.startup_timeout)


class ConfigMapKey(KubeModel):
    """A key of a ConfigMap in the resource's namespace."""

    name: ObjectName = Field(description="The ConfigMap's name.")
    key: ConfigKey = Field(default="ca.crt", description="The key of the certificates.")


class Dependencies(KubeModel):
    """Where the packages of the model's requirements come from."""

    index_url: IndexUrl | None = Field(
        default=None,
        description=(
            "The package index (PEP 503), like https://pypi.example.com/simple. "
            "Defaults to the operator's package index."
        ),
    )
    find_links: FindLinks | None = Field(
        default=None,
        description=(
            "Wheels to use instead of, or in addition to, an index: the URL of a "
            "page of links, or an absolute path on a volume of spec.pod.volumes."
        ),
    )
    ca_config_map: ConfigMapKey | None = Field(
        default=None,
        description=(
            "Certificates (PEM) to trust when downloading packages and artifacts, "
            "if the index or the storage uses a private CA."
        ),
    )


class Toleration(KubeModel):
    """A taint that the pods tolerate, as in the Kubernetes API."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.operator) && self.operator == 'Exists' && has(self.value) "
            "&& self.value != '')",
            "operator Exists matches any value: leave out value, or write operator: Equal",
        ),
        Rule(
            "(has(self.key) && self.key != '') "
            "|| (has(self.operator) && self.operator == 'Exists')",
            "a toleration without key tolerates every taint: write the taint's key, or operator: "
            "Exists if that is intended",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds works only with effect: NoExecute",
        ),
    )

    key: Annotated[str, Field(max_length=317)] | None = Field(
        default=None, description="The taint's key. If omitted, every key (with operator: Exists)."
    )
    operator: Literal["Exists", "Equal", "Lt", "Gt"] | None = Field(
        default=None, description="How the value is compared. Defaults to Equal."
    )
    value: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="The taint's value."
    )
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's effect. If omitted, every effect."
    )
    toleration_seconds: int | None = Field(
        default=None, description="With NoExecute: how long a pod can stay, in seconds."
    )


NodeSelector = LabelMap
Tolerations = Annotated[list[Toleration], Field(max_length=64), ATOMIC]


class Gpu(KubeModel):
    """The GPUs of each pod, and the nodes that have them."""

    count: Annotated[int, Field(ge=1, le=64)] = Field(description="The number of GPUs of each pod.")
    resource: ExtendedResource = Field(
        default="nvidia.com/gpu",
        description=(
            "The extended resource that the device plugin advertises, like nvidia.com/gpu, "
            "nvidia.com/mig-1g.10gb or amd.com/gpu."
        ),
    )
    node_selector: NodeSelector = Field(
        default_factory=dict,
        description=(
            "Labels of the nodes with the right GPU, like nvidia.com/gpu.product: NVIDIA-H200; "
            "joined with spec.pod.nodeSelector."
        ),
    )
    tolerations: Tolerations = Field(
        default_factory=list,
        description="Taints of the GPU nodes that the pods tolerate; added to those of spec.pod.",
    )
    runtime_class_name: ObjectName | None = Field(
        default=None, description="The RuntimeClass that gives containers the GPU, like nvidia."
    )


class Scaling(KubeModel):
    """How many pods serve the model."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maxReplicas) || self.minReplicas == 0 "
            "|| self.minReplicas <= self.maxReplicas",
            "minReplicas is above maxReplicas: raise maxReplicas or lower minReplicas",
            message_expression=(
                "'minReplicas (%d) is above maxReplicas (%d): raise maxReplicas or lower "
                "minReplicas'.format([self.minReplicas, self.maxReplicas])"
            ),
        ),
        Rule(
            "self.minReplicas != 0 || !has(self.maxReplicas) || self.maxReplicas == 0",
            "minReplicas 0 stops the model, and maxReplicas would start it again: leave out "
            "maxReplicas (or write 0) to stop it, or write a minReplicas of at least 1",
        ),
        Rule(
            "has(self.maxReplicas) || !(has(self.targetCPUUtilization) || "
            "(has(self.metrics) && size(self.metrics) > 0))",
            "targetCPUUtilization and metrics work only with maxReplicas: write "
            "maxReplicas too, or leave them out",
        ),
    )

    min_replicas: Replicas = Field(
        default=1,
        description=(
            "The minimum number of pods, or, without maxReplicas, the number of pods. 0 stops the "
            "model. `kubectl scale` sets this field."
        ),
    )
    max_replicas: Replicas | None = Field(
        default=None,
        description=(
            "The maximum number of pods: a HorizontalPodAutoscaler scales between "
            "minReplicas and this. If it is omitted or equals minReplicas, there is "
            "no autoscaling."
        ),
    )
    target_cpu_utilization: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        alias="targetCPUUtilization",
        description=(
            "The target CPU utilization, in percent of the requested CPU. Defaults "
            "to 70 if metrics is not set."
        ),
    )
    metrics: Annotated[list[Native], Field(max_length=32), ATOMIC] = Field(
        default_factory=list,
        description="Additional metrics to scale by, as in autoscaling/v2.",
    )
    behavior: Native = Field(
        default_factory=dict,
        description="How fast to scale up and down, as in autoscaling/v2.",
    )

    @property
    def effective_max_replicas(self) -> int:
        """maxReplicas, or minReplicas where it is left out."""
        return self.min_replicas if self.max_replicas is None else self.max_replicas

    @property
    def is_autoscaled(self) -> bool:
        """Whether a HorizontalPodAutoscaler decides the number of pods."""
        return self.effective_max_replicas > self.min_replicas


class Canary(KubeModel):
    """A second model that receives a share of the requests."""

    uri: ModelUriText = Field(description="The canary's model URI, written as in model.uri.")
    weight: Annotated[int, Field(ge=0, le=100)] = Field(
        description="The canary's share of the requests, in percent."
    )
    match: Matches = Field(
        default_factory=list,
        description=(
            "Requests that match any of these always go to the canary while it is ready, whatever "
            "its weight; works only with routing.gateway."
        ),
    )


HOLD_TIME = Schema(
    Rule(
        f"!{matches(quantity.DURATION)} || duration(self) <= duration('24h')",
        "write a time of at most 24h, like 10m",
    )
)
Hold = Annotated[Duration, HOLD_TIME]
INTERVAL = Schema(
    Rule(
        f"!{matches(quantity.DURATION)} || "
        "(duration(self) >= duration('1s') && duration(self) <= duration('1h'))",
        "write a time from 1s to 1h, like 30s",
    )
)
AnalysisInterval = Annotated[Duration, INTERVAL]


class Pause(KubeModel):
    """A pause of the rollout."""

    duration: Hold | None = Field(
        default=None,
        description="How long to pause. If omitted, until someone resumes the rollout.",
    )


class RolloutStep(KubeModel):
    """One step of a rollout: a weight, a pause, or copies of requests."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.weight), has(self.pause), has(self.shadow)].filter(part, part).size() == 1",
            "a step is a weight, a pause or a shadow: write one of them, like "
            "{weight: 10, hold: 2m}, {pause: {}} or {shadow: {percent: 10}, hold: 10m}",
        ),
        Rule(
            "!has(self.hold) || has(self.weight) || has(self.shadow)",
            "hold is the time for which a weight is held: write {weight: 10, hold: 2m}, or "
            "{pause: {duration: 2m}}",
            field_path=".hold",
        ),
    )

    weight: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None, description="The new revision's share of the requests, in percent."
    )
    hold: Hold | None = Field(
        default=None,
        description=(
            "How long to hold the weight, counted from when the gateway has applied "
            "it, or the shadow, counted from when pods send copies. If omitted, the next step "
            "follows immediately."
        ),
    )
    pause: Pause | None = Field(
        default=None, description="Pause the rollout at the current weight."
    )
    shadow: ShadowCopies | None = Field(
        default=None,
        description=(
            "The new revision receives copies of requests, and nobody receives its responses. "
            "Only before the first weight."
        ),
    )


EXAMPLE_TIME = Schema(
    Rule(
        f"!{matches(quantity.DURATION)} || "
        "(duration(self) >= duration('1s') && duration(self) <= duration('1h'))",
        "write a time from 1s to 1h, like 30s",
    )
)


class InputExampleGate(KubeModel):
    """The model's own input example, which each new pod answers before it is ready."""

    required: bool = Field(
        default=False, description="Whether to reject a model version without an input example."
    )
    timeout: Annotated[Duration, EXAMPLE_TIME] = Field(
        default="30s",
        description="How long the answer may take: at least 1s, at most 1h.",
    )

    @property
    def seconds(self) -> int:
        """timeout in whole seconds."""
        return max(1, round(quantity.seconds(self.timeout)))


class Gates(KubeModel):
    """Requirements that a new model version must meet before it receives requests."""

    tags: Annotated[dict[str, Annotated[str, Field(max_length=250)]], Field(max_length=16)] = Field(
        default_factory=dict,
        description=(
            "Tags that the registered model's version must have, like "
            "validation_status: approved. The rollout of a version without them "
            "waits until they are set."
        ),
    )
    signature: Literal["Off", "Compatible", "Strict"] | None = Field(
        default=None,
        description=(
            "Whether the signature of a new version must fit clients of the version that serves. "
            "Compatible rejects inputs that are new and required or have another type, and outputs "
            "that are missing or have another type. Strict rejects any difference, and waits if a "
            "signature cannot be read. The default is Compatible with steps, and Off without."
        ),
    )
    input_example: InputExampleGate | None = Field(
        default=None,
        description=(
            "Each new pod must answer the model's own input example through POST /invocations "
            "before it becomes ready, with a 2xx status and an output that fits the signature. "
            "Disabled by default. A change creates new pods."
        ),
    )


_LIMIT_MISSING = "there is no limit: write one of the two, or both"


class ErrorLimits(KubeModel):
    """The share of requests that may fail."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.maxPercent) || has(self.maxIncrease)", _LIMIT_MISSING),
    )

    max_percent: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None, description="Maximum of all requests to the new revision, in percent."
    )
    max_increase: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None,
        description=(
            "Maximum increase over the share of the stable revision in the same time, in "
            "percentage points: 1 allows 1.9 % if the stable revision has 1 %."
        ),
    )


class LatencyLimits(KubeModel):
    """The time that requests may take."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.max) || has(self.maxRatio)", _LIMIT_MISSING),
    )

    percentile: Annotated[float, Field(ge=1, le=99.9)] = Field(
        default=95, description="The percentile that is limited."
    )
    max: Duration | None = Field(default=None, description="The maximum, like 250ms.")
    max_ratio: Annotated[float, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description=(
            "The maximum as a multiple of the same percentile of the stable revision in the same "
            "time, like 2."
        ),
    )


class StalenessLimits(KubeModel):
    """How old the features of requests can be."""

    percentile: Annotated[float, Field(ge=1, le=99.9)] = Field(
        default=95, description="The percentile that is limited."
    )
    max_age: Duration = Field(description="The maximum, like 1h.")


class PredictionLimits(KubeModel):
    """How far the distribution of predictions may be from that of the stable revision."""

    # By itself, the API server compares whole numbers with whole limits: 0 with 0.
    max_psi: Annotated[
        float,
        Field(ge=0.01, le=100),
        Schema(Rule("self >= 0.01", "write a number of at least 0.01, like 0.25")),
    ] = Field(
        default=0.25,
        description=(
            "Maximum population stability index. By convention an index up to 0.1 is small, above "
            "0.25 large."
        ),
    )


class PrometheusQuery(KubeModel):
    """A query whose value must be within limits."""

    RULES: ClassVar[tuple[Rule, ...]] = (Rule("has(self.min) || has(self.max)", _LIMIT_MISSING),)

    name: LabelName = Field(description="A name for the query.")
    url: PrometheusUrl = Field(
        description=(
            "The URL of a Prometheus server that the chart value policy.prometheusUrls allows, "
            "like http://prometheus.monitoring:9090."
        )
    )
    query: Annotated[str, Field(min_length=1, max_length=4096)] = Field(
        description=(
            "PromQL whose result is a single value. $target and $stable are replaced by the names "
            "of the revisions, $namespace and $name by those of the resource."
        )
    )
    min: float | None = Field(default=None, description="The minimum of the value.")
    max: float | None = Field(default=None, description="The maximum of the value.")


DEFAULT_SHADOW_LIMITS = ShadowLimits(max_error_percent=1)


class Analysis(KubeModel):
    """Which metrics are compared during a step, and what follows from them."""

    interval: AnalysisInterval = Field(
        default="30s", description="The time between checks of the metrics."
    )
    min_requests: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=100,
        description="The number of requests to the new revision below which there is no verdict.",
    )
    confidence: Annotated[float, Field(ge=50, le=99.999)] = Field(
        default=95,
        description=(
            "The confidence of each verdict, in percent. With 95, at most one of twenty good "
            "revisions is rolled back by chance."
        ),
    )
    failure_limit: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0,
        description=(
            "The number of checks of a step at which a metric may be bad before the new revision "
            "is rolled back."
        ),
    )
    on_inconclusive: Literal["Wait", "Promote", "RollBack"] = Field(
        default="Wait",
        description=(
            "What to do at the end of a step if there are too few requests for a verdict. Wait: "
            "until there is a verdict, or someone resumes the rollout. Promote: continue with the "
            "next step. RollBack: roll the new revision back."
        ),
    )
    dry_run: bool = Field(
        default=False, description="Report the verdict in the status only, without consequences."
    )
    errors: ErrorLimits = Field(
        default=ErrorLimits(max_increase=1),
        description=(
            "Limits of the share of requests that failed (5xx, including timeouts) or that clients "
            "aborted."
        ),
    )
    client_errors: ErrorLimits = Field(
        default=ErrorLimits(max_increase=1),
        description=(
            "Limits of the share of requests that were rejected (4xx). Like MLflow, the scoring "
            "server also responds with 400 if the model raises an exception."
        ),
    )
    latency: Annotated[list[LatencyLimits], Field(max_length=4), ATOMIC] = Field(
        default_factory=list, description="Limits of the time that requests take."
    )
    staleness: StalenessLimits | None = Field(
        default=None,
        description="Limit of the age of the features; requires spec.server.staleness.",
    )
    predictions: PredictionLimits | None = Field(
        default=None,
        description="Limits of the difference between the predictions of the two revisions.",
    )
    queries: Annotated[list[PrometheusQuery], Field(max_length=8), map_by("name")] = Field(
        default_factory=list, description="Queries to Prometheus servers."
    )
    shadow: ShadowLimits | None = Field(
        default=None,
        description=(
            "Limits for steps with a shadow, to which the other limits do not apply. If omitted, "
            "maxErrorPercent is 1."
        ),
    )

    @property
    def shadow_limits(self) -> ShadowLimits:
        """shadow, or its default."""
        return self.shadow or DEFAULT_SHADOW_LIMITS


MAX_STEPS = 32
_PLACES = list(range(MAX_STEPS))  # CEL has no other way to compare places in a list


class Rollout(KubeModel):
    """How a new revision takes over."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.analysis) || has(self.steps) || "
            "(has(self.strategy) && self.strategy != 'direct')",
            "an analysis compares metrics during steps: write steps, or strategy: canary",
            field_path=".analysis",
        ),
        Rule(
            "!(has(self.strategy) && has(self.steps))",
            "a strategy is a set of predefined steps: write strategy or steps, not both",
            field_path=".strategy",
        ),
        Rule(
            "!has(self.surge) || self.surge == 100 || !(has(self.steps) || has(self.keepOld) || "
            "(has(self.strategy) && self.strategy != 'direct'))",
            "steps and keepOld need the pods of both revisions, and a surge below 100 has no room "
            "for them: leave out surge, or leave out steps and keepOld and write no other strategy "
            "than direct",
            field_path=".surge",
        ),
        Rule(
            "!has(self.match) || size(self.match) == 0 || has(self.steps) || "
            "(has(self.strategy) && self.strategy != 'direct')",
            "without steps, the new revision receives all requests as soon as it is ready: write "
            "steps, or strategy: canary, or leave out match",
            field_path=".match",
        ),
        Rule(
            f"!has(self.steps) || {_PLACES}.all(i, i >= self.steps.size() || "
            f"!has(self.steps[i].shadow) || {_PLACES}.all(j, j >= i || "
            "!has(self.steps[j].weight)))",
            "a revision with requests of its own is no shadow: write the steps with shadow before "
            "the first weight",
            field_path=".steps",
        ),
        Rule(
            "!has(self.analysis) || !has(self.analysis.shadow) || "
            "(has(self.steps) && self.steps.exists(step, has(step.shadow)))",
            "analysis.shadow judges the steps with a shadow, and there is none: write one, like "
            "{shadow: {percent: 10}, hold: 10m}, or leave out analysis.shadow",
            field_path=".analysis",
        ),
    )

    strategy: Literal["direct", "canary", "blueGreen"] | None = Field(
        default=None,
        description=(
            "Predefined steps. direct: all requests go to the new revision as soon "
            "as it is ready. canary: 10, 25 and 50 % of the requests, for two "
            "minutes each. blueGreen: all requests, once the new revision has as "
            "many pods as the old one, which stays ready to take them back for five "
            "minutes. If neither this nor steps is set, direct."
        ),
    )
    steps: (
        Annotated[list[RolloutStep], Field(min_length=1, max_length=MAX_STEPS), ATOMIC] | None
    ) = Field(
        default=None,
        description=(
            "The weights that the new revision receives one after the other before "
            "it takes over, like [{weight: 10, hold: 2m}, {pause: {}}, "
            "{weight: 50, hold: 2m}]."
        ),
    )
    match: Matches = Field(
        default_factory=list,
        description=(
            "Requests that match any of these go to the new revision as soon as it has passed its "
            "gates and is ready, whatever the weight of the step; works only with routing.gateway."
        ),
    )
    keep_old: Hold | None = Field(
        default=None,
        description=(
            "How long to keep the pods of a revision that no longer receives "
            "requests, like 10m. Within that time, the rollout can return to it "
            "immediately, and you can inspect a revision that was rolled back. If "
            "omitted, the pods are removed when they have finished their requests."
        ),
    )
    surge: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None,
        description=(
            "The number of pods that an update can add to those of the old revision, as a "
            "percentage of these, rounded up. Below 100, pods are exchanged a few at a time, and "
            "requests follow them. With 0, an old pod stops before a new one starts, and a model "
            "with one pod is unavailable meanwhile. The default is 100: a second set of pods."
        ),
    )
    gates: Gates = Field(
        default=Gates(),
        description="Requirements that a new model version must meet before it receives requests.",
    )
    analysis: Analysis | None = Field(
        default=None,
        description=(
            "Compare the metrics of the new revision with those of the stable one during each "
            "step, and roll the new revision back if they are worse; see docs/how-to/analysis.md."
        ),
    )
    freeze: Annotated[list[FreezeWindow], Field(max_length=16), ATOMIC] = Field(
        default_factory=list,
        description="Times during which no rollout starts; a rollout in progress continues.",
    )
    debounce: Hold | None = Field(
        default=None,
        description=(
            "How long the model URI must have resolved to the same version before its rollout "
            "starts, like 30s. If omitted, the rollout starts at once."
        ),
    )
    flap_protection: FlapProtection = Field(
        default=FlapProtection(),
        description="When to wait because the model URI keeps resolving to other versions.",
    )
    registry: RegistryWrites = Field(
        default=RegistryWrites(), description="What the operator writes to the registry."
    )
    on_success: OnSuccess = Field(
        default=OnSuccess(), description="What happens after a version has taken over."
    )

    @property
    def writes_registry(self) -> bool:
        """Whether the operator is to write into the registry."""
        return self.registry.write_back or self.on_success.set_alias is not None

    @property
    def surge_percent(self) -> int:
        """surge, or what it is where it is left out."""
        return 100 if self.surge is None else self.surge

    @property
    def keep_seconds(self) -> float:
        """keepOld in seconds."""
        return quantity.seconds(self.keep_old) if self.keep_old else 0.0


class GatewayRef(KubeModel):
    """A Gateway (Gateway API)."""

    name: ObjectName = Field(description="The Gateway's name.")
    namespace: LabelName | None = Field(
        default=None, description="The Gateway's namespace. Defaults to the resource's namespace."
    )


class Routing(KubeModel):
    """How requests from outside the cluster reach the model."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.hostnames) || size(self.hostnames) == 0 || has(self.gateway)",
            "hostnames work only with a gateway: write routing.gateway.name too, or "
            "leave out hostnames",
        ),
        Rule(
            "!has(self.sticky) || has(self.gateway)",
            "only a gateway sets and reads cookies: write routing.gateway.name too, or leave out "
            "sticky",
            field_path=".sticky",
        ),
        Rule(
            "!has(self.sticky) || !self.path.matches('[;,%]')",
            "the path is also that of the cookie: write one without ';', ',' and '%', or leave out "
            "sticky",
            field_path=".path",
        ),
    )

    gateway: GatewayRef | None = Field(
        default=None,
        description=(
            "The Gateway that routes requests to the model with an HTTPRoute, which "
            "splits the traffic exactly. If omitted, the model can be reached only "
            "inside the cluster, through the Service with the resource's name."
        ),
    )
    hostnames: Annotated[list[Hostname], Field(max_length=16), SET] = Field(
        default_factory=list,
        description="The host names to serve. Defaults to all host names of the Gateway.",
    )
    path: RoutePath = Field(
        default="/",
        description="The path prefix of /invocations and /ping, like / or /wine.",
    )
    timeout: Duration = Field(
        default="30s",
        description=(
            "How long a request can take, like 500ms, 30s or 2m; 0s means no limit. "
            "When a pod terminates, its requests in flight get the same time, but "
            "no more than an hour (with server.image and 0s: 30 seconds). Changing "
            "it creates new pods."
        ),
    )
    sticky: Sticky | None = Field(
        default=None,
        description=(
            "While requests are split, keep each user at the revision that answered first, with a "
            "cookie that the gateway sets. Weights then apply to users without the cookie; see "
            "docs/how-to/ab-testing.md."
        ),
    )


class ApiKeysSecret(KubeModel):
    """A key of a Secret in the resource's namespace that contains API keys."""

    name: ObjectName = Field(description="The Secret's name.")
    key: ConfigKey = Field(
        default="keys",
        description=(
            "The key of the Secret whose value has one API key per line, as "
            "<name>:<API key>, with at least 16 characters for the API key."
        ),
    )


class Jwt(KubeModel):
    """JSON Web Tokens from an issuer."""

    issuer: Claim = Field(description="The iss of the tokens, like https://issuer.example.com.")
    jwks_url: JwksUrl = Field(
        description=(
            "The URL of the issuer's JSON Web Key Set, like "
            "https://issuer.example.com/.well-known/jwks.json. The pods fetch it themselves."
        )
    )
    audience: Claim = Field(description="The aud that tokens for this model must have, like wine.")


class RateLimit(KubeModel):
    """How often a caller can send requests."""

    requests_per_second: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        description=(
            "Requests per second for each API key or token subject or, if neither "
            "is required, for each client address. Each worker of each pod counts "
            "separately."
        )
    )
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description=(
            "The number of requests allowed at once after a pause. Defaults to "
            "twice requestsPerSecond."
        ),
    )


class ServiceAccountRef(KubeModel):
    """A ServiceAccount of the cluster."""

    namespace: LabelName = Field(description="The ServiceAccount's namespace.")
    name: ObjectName = Field(description="The ServiceAccount's name.")

    @property
    def subject(self) -> str:
        """The `sub` of its tokens."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"


class AllowedCallers(KubeModel):
    """The callers inside the cluster that can send requests."""

    namespaces: Annotated[list[LabelName], Field(min_length=1, max_length=64), SET] | None = Field(
        default=None,
        description=(
            "The namespaces whose pods can connect to the model's pods, enforced by "
            "a NetworkPolicy. If routing.gateway is set, also list the namespace of "
            "the gateway's proxies. If pods in the resource's own namespace are "
            "callers, list that namespace too. If omitted, there is no "
            "NetworkPolicy."
        ),
    )
    service_accounts: (
        Annotated[
            list[ServiceAccountRef],
            Field(min_length=1, max_length=64),
            map_by("namespace", "name"),
        ]
        | None
    ) = Field(
        default=None,
        description=(
            "The ServiceAccounts whose tokens are accepted; requires jwt with the "
            "cluster's issuer. If omitted, all tokens that jwt allows are accepted."
        ),
    )


class Access(KubeModel):
    """Who can send requests, and how often."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.allowedCallers) || !has(self.allowedCallers.serviceAccounts) || "
            "has(self.jwt)",
            "ServiceAccounts authenticate with tokens from the cluster's issuer: "
            "write jwt with its issuer and jwksUrl too, or leave out "
            "serviceAccounts",
            field_path=".allowedCallers",
        ),
    )

    api_keys_secret: ApiKeysSecret | None = Field(
        default=None,
        description=(
            "The API keys: requests need one of them in the header Authorization: "
            "Bearer <API key>. If jwt is set too, either is accepted. No pod starts "
            "without the Secret."
        ),
    )
    jwt: Jwt | None = Field(
        default=None,
        description=(
            "Requests need a JSON Web Token from this issuer in the header "
            "Authorization: Bearer <token>."
        ),
    )
    rate_limit: RateLimit | None = Field(
        default=None,
        description="How often each caller can send requests; further requests receive 429.",
    )
    allowed_callers: AllowedCallers | None = Field(
        default=None, description="The callers inside the cluster that can send requests."
    )

    @property
    def is_checked_by_server(self) -> bool:
        """Whether the server itself has to check or count requests."""
        return any((self.api_keys_secret, self.jwt, self.rate_limit))

    @property
    def callers_namespaces(self) -> list[str] | None:
        """The namespaces of those who may connect; None: all."""
        return self.allowed_callers.namespaces if self.allowed_callers else None

    @property
    def subjects(self) -> list[str]:
        """The `sub` of the tokens that are accepted; empty: all."""
        accounts = self.allowed_callers.service_accounts if self.allowed_callers else None
        return [account.subject for account in accounts or ()]


# How a model's files are read, and by that, what they can do. docs/how-to/policy.md explains each.
Format = Literal[
    "onnx",
    "safetensors",
    "skops",
    "xgboost",
    "lightgbm",
    "catboost",
    "tensorflow",
    "keras",
    "torch-export",
    "pickle",
    "code",
]


class Signatures(KubeModel):
    """The keys and certificate authorities of which one must have signed a model."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.publicKeys) || has(self.certificateAuthorities)",
            (
                "no signature could be verified: write publicKeys, or "
                "certificateAuthorities, or both"
            ),
        ),
    )

    public_keys: Annotated[list[PublicKey], Field(min_length=1, max_length=16), SET] | None = Field(
        default=None, description="Public keys (PEM; elliptic curves P-256, P-384 and P-521)."
    )
    certificate_authorities: (
        Annotated[list[Certificate], Field(min_length=1, max_length=16), SET] | None
    ) = Field(
        default=None,
        description=(
            "Certificates (PEM) of authorities: signing certificates that any of "
            "them has issued are accepted."
        ),
    )


class ModelPolicy(KubeModel):
    """Which models may be served, within the limits that the administrator sets."""

    sources: Annotated[list[SourcePattern], Field(min_length=1, max_length=64), SET] | None = Field(
        default=None,
        description=(
            "The allowed sources of models: models:/<name>, where the name can have "
            "wildcards; a scheme like runs:; or the beginning of a URI up to a "
            "slash. If omitted, any source is allowed."
        ),
    )
    formats: Annotated[list[Format], Field(min_length=1, max_length=16), SET] | None = Field(
        default=None,
        description=(
            "The allowed formats of a model's files, checked before any of them is "
            "loaded. If omitted, any format is allowed."
        ),
    )
    signatures: Signatures | None = Field(
        default=None,
        description=(
            "The signature that a model must have: a file model.sig created by "
            "OpenSSF's model-signing, verified before any of the model's files is "
            "loaded. If omitted, no signature is required."
        ),
    )


class Volume(KubeModel):
    """A volume of the pods, as in the Kubernetes API."""

    # The kind of volume (persistentVolumeClaim, configMap, …) is Kubernetes' to know.
    model_config = ConfigDict(extra="allow")
    EXTENSIONS: ClassVar = {"preserve_unknown_fields": True}
    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!(self.name in {list(RESERVED_VOLUMES)})",
            f"the operator has volumes called {', '.join(RESERVED_VOLUMES)}: choose another name",
            field_path=".name",
        ),
    )

    name: LabelName = Field(description="The name that volumeMounts refer to.")


class VolumeMount(KubeModel):
    """Where a volume is mounted in the containers, as in the Kubernetes API."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # /model is read-only in the server container: nothing can be mounted inside either.
            f"!{matches(_RESERVED_PATHS, 'self.mountPath')}",
            f"{MODEL_DIR}, {CA_DIR}, {ACCESS_DIR}, {SHADOW_DIR} and /tmp are the operator's own "
            "volumes: mount this one elsewhere, like /mnt/models",
            field_path=".mountPath",
        ),
    )

    name: LabelName = Field(description="The name of one of spec.pod.volumes.")
    mount_path: AbsolutePath = Field(description="The path in the containers.")
    read_only: bool | None = Field(
        default=None, description="Whether the volume is mounted read-only."
    )
    sub_path: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="The path in the volume to mount, instead of its root."
    )
    sub_path_expr: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="As subPath, with $(VARIABLE) replaced from the environment."
    )
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] | None = Field(
        default=None, description="How mounts spread between host and container."
    )
    recursive_read_only: Literal["Disabled", "IfPossible", "Enabled"] | None = Field(
        default=None, description="Whether readOnly also applies to mounts below this one."
    )


class LocalObjectReference(KubeModel):
    """An object in the resource's namespace."""

    name: ObjectName = Field(description="The object's name.")


class Pod(KubeModel):
    """Other settings of the pods, as in the Kubernetes API."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.labels) || self.labels.all(key, "
            f"!(key in {list(RESERVED_LABELS)}) && !key.startsWith('{GROUP}/'))",
            "the operator finds its pods by these labels: leave "
            f"{', '.join(RESERVED_LABELS)} and {GROUP}/… out of labels",
            field_path=".labels",
        ),
        Rule(
            "!has(self.volumeMounts) || self.volumeMounts.all(mount, has(self.volumes) && "
            "self.volumes.exists(volume, volume.name == mount.name))",
            "a mount refers to a volume that does not exist: add it to pod.volumes or correct its "
            "name",
            field_path=".volumeMounts",
        ),
    )

    node_selector: NodeSelector = Field(
        default_factory=dict, description="Labels that a node must have to run the pods."
    )
    tolerations: Tolerations = Field(
        default_factory=list, description="Taints of nodes that the pods tolerate."
    )
    affinity: Native = Field(
        default_factory=dict,
        description="Where the pods should run, as in the Kubernetes API.",
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description="The ServiceAccount of the pods, for example one with access to a bucket.",
    )
    automount_service_account_token: bool = Field(
        default=False,
        description=(
            "Whether to mount the ServiceAccount's token for the Kubernetes API, "
            "for models that use that API. Workload identities of cloud providers "
            "do not need it."
        ),
    )
    labels: LabelMap = Field(default_factory=dict, description="Additional labels of the pods.")
    annotations: AnnotationMap = Field(
        default_factory=dict, description="Additional annotations of the pods."
    )
    volumes: Annotated[list[Volume], Field(max_length=64), map_by("name")] = Field(
        default_factory=list, description="Additional volumes of the pods."
    )
    volume_mounts: Annotated[list[VolumeMount], Field(max_length=64), map_by("mountPath")] = Field(
        default_factory=list,
        description="Where these volumes are mounted in the containers prepare and server.",
    )
    image_pull_secrets: Annotated[
        list[LocalObjectReference], Field(max_length=16), map_by("name")
    ] = Field(default_factory=list, description="Secrets for pulling the images.")
    priority_class_name: ObjectName | None = Field(
        default=None, description="The PriorityClass of the pods."
    )


_HAS_SHADOW_STEP = (
    "has(self.rollout) && has(self.rollout.steps) && "
    "self.rollout.steps.exists(step, has(step.shadow))"
)


class Spec(KubeModel):
    """The model to serve, and how."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.canary) || self.canary.uri != self.model.uri",
            "the canary is the same as the model: write another URI, like models:/wine@challenger",
            field_path=".canary.uri",
        ),
        Rule(
            "!has(self.canary) || !has(self.rollout) || !(has(self.rollout.steps) || "
            "(has(self.rollout.strategy) && self.rollout.strategy != 'direct'))",
            "a canary and the steps of a rollout would split the same requests: "
            "leave out canary, or leave out rollout.steps and any rollout.strategy "
            "other than direct",
            field_path=".rollout",
        ),
        Rule(
            "!has(self.rollout) || !has(self.rollout.analysis) || "
            "!has(self.rollout.analysis.staleness) || "
            "(has(self.server) && has(self.server.staleness))",
            "rollout.analysis.staleness needs the column that says how old features are: write "
            "server.staleness.column, or leave out rollout.analysis.staleness",
        ),
        Rule(
            "!has(self.canary) || !has(self.rollout) || !has(self.rollout.surge) || "
            "self.rollout.surge == 100",
            "a surge below 100 leaves no room for the pods of a canary: leave out canary, or leave "
            "out rollout.surge",
            field_path=".rollout",
        ),
        Rule(
            "!has(self.variants) || size(self.variants) == 0 || !has(self.canary)",
            "a canary is a variant: write it in variants, or leave out variants",
            field_path=".canary",
        ),
        Rule(
            "!has(self.variants) || size(self.variants) == 0 || has(self.routing.gateway)",
            "only a gateway splits requests among several versions: write routing.gateway.name "
            "too, or a canary in place of variants",
            field_path=".variants",
        ),
        Rule(
            "!has(self.variants) || self.variants.all(variant, variant.uri != self.model.uri)",
            "a variant is the same as the model: write another URI, like models:/wine@challenger",
            field_path=".variants",
        ),
        Rule(
            "!has(self.variants) || size(self.variants) == 0 || !has(self.rollout) || "
            "!(has(self.rollout.steps) || has(self.rollout.surge) && self.rollout.surge != 100 || "
            "(has(self.rollout.strategy) && self.rollout.strategy != 'direct'))",
            "variants and the steps of a rollout would split the same requests: leave out "
            "variants, or leave out rollout.steps, any rollout.strategy other than direct, and "
            "rollout.surge",
            field_path=".rollout",
        ),
        Rule(
            "!has(self.canary) || !has(self.canary.match) || size(self.canary.match) == 0 || "
            "has(self.routing.gateway)",
            "only a gateway tells requests apart: write routing.gateway.name too, or leave out "
            "match",
            field_path=".canary.match",
        ),
        Rule(
            "!has(self.rollout) || !has(self.rollout.match) || size(self.rollout.match) == 0 || "
            "has(self.routing.gateway)",
            "only a gateway tells requests apart: write routing.gateway.name too, or leave out "
            "match",
            field_path=".rollout",
        ),
        Rule(
            "!has(self.gpu) || !has(self.server.resources) || "
            "!((has(self.server.resources.limits) && self.gpu.resource in "
            "self.server.resources.limits) || (has(self.server.resources.requests) && "
            "self.gpu.resource in self.server.resources.requests))",
            "the GPUs are requested twice: leave the resource of gpu out of server.resources",
            field_path=".server.resources",
        ),
        Rule(
            "!has(self.server.grpc) || !self.server.grpc || !has(self.routing.gateway) || "
            "self.routing.path == '/'",
            "gRPC has no path prefixes: write / and a host name for this model alone, or leave out "
            "server.grpc",
            field_path=".routing.path",
        ),
        Rule(
            "!has(self.access) || !has(self.server.image) || !(has(self.access.apiKeysSecret) || "
            "has(self.access.jwt) || has(self.access.rateLimit))",
            "only the scoring image checks API keys, tokens and rates: leave out server.image, or "
            "leave out apiKeysSecret, jwt and rateLimit and have the gateway check them",
            field_path=".access",
        ),
        Rule(
            "!has(self.policy) || !has(self.server.image) || "
            "!(has(self.policy.formats) || has(self.policy.signatures))",
            "only the scoring image checks the formats and signatures of models: leave out "
            "server.image, or leave out formats and signatures",
            field_path=".policy",
        ),
        Rule(
            "!has(self.rollout) || !has(self.rollout.gates) || "
            "!has(self.rollout.gates.inputExample) || !has(self.server.image)",
            "only the scoring image answers a model's own input example: leave out server.image, "
            "or leave out rollout.gates.inputExample",
            field_path=".rollout",
        ),
        Rule(
            "!has(self.shadow) || self.shadow.uri != self.model.uri",
            "the shadow is the same as the model: write another URI, like models:/wine@challenger",
            field_path=".shadow.uri",
        ),
        Rule(
            "!has(self.shadow) || ((!has(self.canary) || self.shadow.uri != self.canary.uri) && "
            "(!has(self.variants) || self.variants.all(variant, variant.uri != self.shadow.uri)))",
            "the shadow is the same as the canary or a variant, which receives requests of its "
            "own: write another URI, or leave out shadow",
            field_path=".shadow.uri",
        ),
        Rule(
            f"!has(self.server.image) || !(has(self.shadow) || {_HAS_SHADOW_STEP})",
            "only the scoring image sends copies of requests: leave out server.image, or leave out "
            "shadow and the steps with a shadow",
            field_path=".server.image",
        ),
        Rule(
            f"!has(self.shadow) || !({_HAS_SHADOW_STEP})",
            "the pods send copies to one shadow: leave out shadow, or leave out the steps with a "
            "shadow",
            field_path=".shadow",
        ),
        Rule(
            "!has(self.shadow) || has(self.routing.gateway) || !(has(self.canary) || "
            "(has(self.rollout) && (has(self.rollout.steps) || (has(self.rollout.strategy) && "
            "self.rollout.strategy != 'direct') || (has(self.rollout.surge) && "
            "self.rollout.surge < 100))))",
            "without a gateway, requests are split by numbers of pods, and the shadow's pods "
            "would get some: write routing.gateway, or leave out shadow, or leave out canary and "
            "everything in rollout that splits requests (steps, strategy, surge)",
            field_path=".shadow",
        ),
        Rule(
            "!has(self.scaling.maxReplicas) || self.scaling.maxReplicas <= "
            "self.scaling.minReplicas || (!has(self.scaling.targetCPUUtilization) && "
            "has(self.scaling.metrics) && size(self.scaling.metrics) > 0) || "
            "(has(self.server.resources.requests) && 'cpu' in self.server.resources.requests) || "
            "(has(self.server.resources.limits) && 'cpu' in self.server.resources.limits)",
            "scaling by CPU utilization needs a CPU request: write server.resources.requests.cpu, "
            "like 500m, or scale by other metrics",
            field_path=".scaling",
        ),
    )

    model: Model = Field(description="The model to serve.")
    server: Server = Field(default=Server(), description="How the model is served.")
    dependencies: Dependencies = Field(
        default=Dependencies(),
        description="Where the packages of the model's requirements come from.",
    )
    gpu: Gpu | None = Field(
        default=None, description="The GPUs of each pod. If omitted, the model runs on CPUs."
    )
    scaling: Scaling = Field(default=Scaling(), description="How many pods serve the model.")
    canary: Canary | None = Field(
        default=None,
        description="A second model that receives a share of the requests.",
    )
    variants: Variants = Field(
        default_factory=list,
        description=(
            "More than one other model, each with a share of the requests; in place of canary, and "
            "only with routing.gateway."
        ),
    )
    shadow: Shadow | None = Field(
        default=None,
        description=(
            "A second model that receives copies of requests, to compare it with the one that "
            "serves: nobody receives its responses."
        ),
    )
    rollout: Rollout = Field(
        default=Rollout(),
        description=(
            "How a new revision takes over when model.uri resolves to another "
            "version or the pod template changes. By default, it takes over as soon "
            "as it is ready."
        ),
    )
    routing: Routing = Field(
        default=Routing(), description="How requests from outside the cluster reach the model."
    )
    access: Access = Field(
        default=Access(),
        description="Who can send requests, and how often. By default, anyone who can connect.",
    )
    policy: ModelPolicy = Field(
        default=ModelPolicy(),
        description="Which models may be served, within the limits that the administrator sets.",
    )
    pod: Pod = Field(
        default=Pod(),
        description="Other settings of the pods: node selection, volumes, identity, labels.",
    )

    @property
    def has_matches(self) -> bool:
        """Whether any requests are recognized by a header or a cookie."""
        matches = [self.rollout.match, self.canary.match if self.canary else []]
        return any([*matches, *self.match_by_variant.values()])

    @property
    def match_by_variant(self) -> dict[str, list[RequestMatch]]:
        """Which requests always go to each variant, by its name."""
        return {variant.name: variant.match for variant in self.variants}

    @property
    def may_shadow(self) -> bool:
        """Whether pods of this resource may send copies of requests to each other."""
        steps = self.rollout.steps or ()
        return self.shadow is not None or any(step.shadow is not None for step in steps)
