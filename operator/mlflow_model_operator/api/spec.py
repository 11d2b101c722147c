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
    Variable,
)
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
    PublicKey,
    Quantity,
    RoutePath,
    SourcePattern,
    TrackingUri,
)

_RESERVED_PATHS = f"/|({MODEL_DIR}|{CA_DIR}|{ACCESS_DIR})(/.*)?|/tmp/?"
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
            "models:/<name>/latest, models:/<name>/<stage>, models:/m-<id> (a logged model), "
            "runs:/<run id>/<path>, a storage URI (s3://, gs://, abfss://, wasbs://, dbfs:/, "
            "mlflow-artifacts:/, http://, …) or an absolute path on a volume of spec.pod.volumes. "
            "An alias, a stage and latest are followed: when they resolve to another version, "
            "that version takes over."
        ),
    )
    tracking_uri: TrackingUri | None = Field(
        default=None,
        description=(
            "The MLflow tracking server (and model registry) that has the model, like "
            "http://mlflow.mlflow:5000. Left out, the operator's setting is used."
        ),
    )
    credentials_secret: ObjectName | None = Field(
        default=None,
        description=(
            "The name of a Secret in the same namespace whose keys become environment variables "
            "of the step that fetches and installs the model, like MLFLOW_TRACKING_TOKEN or "
            "AWS_SECRET_ACCESS_KEY."
        ),
    )
    credentials_in_server: bool = Field(
        default=False,
        description=(
            "Give the variables of credentialsSecret to the server too, where the model's own code "
            "runs: for models that need them while they are loaded or predict. A custom image "
            "(server.image) always gets them, since it fetches the model itself."
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
        default=None, description="The variable's value, as it is."
    )
    value_from: Native | None = Field(
        default=None,
        description=(
            "Where the value comes from, as in the Kubernetes API (secretKeyRef, "
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
        description="The most that each pod may use, by name of the resource.",
    )


class Storage(KubeModel):
    """The most that a pod may write to its node's disk."""

    model: Quantity = Field(
        default="50Gi",
        description="The model's files and the packages installed for it; 0 means no limit.",
    )
    tmp: Quantity = Field(
        default="10Gi", description="Files in /tmp, and logs of a custom image; 0 means no limit."
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
    )

    image: ImageName | None = Field(
        default=None,
        description=(
            "The image to run instead of the operator's scoring image: an image built from the "
            "scoring image, by `mlflow models build-docker`, or any other that serves MLflow's "
            f"protocol (POST /invocations, GET /ping) on port {HTTP_PORT}. It gets MODEL_URI and "
            "MLFLOW_TRACKING_URI and runs by its own entrypoint. Left out, the scoring image for "
            "the model's own Python version is used."
        ),
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = Field(
        default=None,
        description=(
            "When the kubelet pulls the image. Left out, the chart's scoringImagePullPolicy for "
            "the scoring image, and Kubernetes' own rule for server.image: Always for the tag "
            "latest and for no tag, else IfNotPresent."
        ),
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Server processes in each pod; each loads the model once.",
    )
    grpc: bool = Field(
        default=False,
        description=(
            f"Answer the Open Inference Protocol over gRPC too: at port {GRPC_PORT} of the "
            "Service, and through the gateway, where routing.path must be / then."
        ),
    )
    onnx: bool = Field(
        default=False,
        description=(
            "Convert a scikit-learn model to ONNX, and use ONNX Runtime if its predictions equal "
            "the model's, for the input example and rows generated from it. Otherwise the model "
            "is served unchanged; the pod's log and metrics say which, and why."
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
            "The CPU and memory of each pod. The defaults apply only if resources is left out: "
            "nothing is added to a part of it. GPUs go into spec.gpu."
        ),
    )
    storage: Storage = Field(
        default=Storage(),
        description=(
            "The most that each pod may write to its node's disk: a pod that writes more is ended "
            "by the node and started again. Nothing is reserved; to reserve disk space, set "
            "resources.requests.ephemeral-storage."
        ),
    )
    startup_timeout: Annotated[Duration, STARTUP_TIME] = Field(
        default="10m",
        description=(
            "How long a new pod may take to fetch, install and load the model before the rollout "
            "counts as failed, like 90s, 10m or 1h30m: at least 10s, at most 24h. A change makes "
            "new pods."
        ),
    )

    @property
    def startup_seconds(self) -> float:
        """startupTimeout in seconds."""
        return quantity.seconds(self.startup_timeout)


class ConfigMapKey(KubeModel):
    """A key of a ConfigMap in the resource's namespace."""

    name: ObjectName = Field(description="The ConfigMap's name.")
    key: ConfigKey = Field(default="ca.crt", description="The key that holds the certificates.")


class Dependencies(KubeModel):
    """Where the packages of the model's requirements come from."""

    index_url: IndexUrl | None = Field(
        default=None,
        description=(
            "The package index (PEP 503), like https://pypi.example.com/simple. Left out, the "
            "operator's setting is used."
        ),
    )
    find_links: FindLinks | None = Field(
        default=None,
        description=(
            "Wheels instead of, or beside, an index: the URL of a page of links, or an absolute "
            "path on a volume of spec.pod.volumes."
        ),
    )
    ca_config_map: ConfigMapKey | None = Field(
        default=None,
        description=(
            "Certificates (PEM) to trust when packages and artifacts are fetched, where the index "
            "or the storage uses a private CA."
        ),
    )


class Toleration(KubeModel):
    """A taint that the pods tolerate, as in the Kubernetes API."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.operator) && self.operator == 'Exists' && has(self.value) "
            "&& self.value != '')",
            "operator Exists takes any value: leave value out, or write operator: Equal",
        ),
        Rule(
            "(has(self.key) && self.key != '') "
            "|| (has(self.operator) && self.operator == 'Exists')",
            "a toleration without key tolerates every taint: write the taint's key, or operator: "
            "Exists if that is intended",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds only works with effect: NoExecute",
        ),
    )

    key: Annotated[str, Field(max_length=317)] | None = Field(
        default=None, description="The taint's key; left out, every key (with operator: Exists)."
    )
    operator: Literal["Exists", "Equal", "Lt", "Gt"] | None = Field(
        default=None, description="How the value is compared. Left out, Equal."
    )
    value: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="The taint's value."
    )
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's effect; left out, every effect."
    )
    toleration_seconds: int | None = Field(
        default=None, description="With NoExecute: how long a pod may stay, in seconds."
    )


NodeSelector = LabelMap
Tolerations = Annotated[list[Toleration], Field(max_length=64), ATOMIC]


class Gpu(KubeModel):
    """The GPUs of each pod, and the nodes that have them."""

    count: Annotated[int, Field(ge=1, le=64)] = Field(description="GPUs for each pod.")
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
            "targetCPUUtilization and metrics only work with maxReplicas: write maxReplicas too, "
            "or leave them out",
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
            "The maximum number of pods: a HorizontalPodAutoscaler scales between minReplicas and "
            "this. Left out, or equal to minReplicas, there is no autoscaling."
        ),
    )
    target_cpu_utilization: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        alias="targetCPUUtilization",
        description=(
            "The target CPU utilization, in percent of the requested CPU. 70 if neither this nor "
            "metrics is set."
        ),
    )
    metrics: Annotated[list[Native], Field(max_length=32), ATOMIC] = Field(
        default_factory=list,
        description="More metrics to scale by, as in autoscaling/v2.",
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
    """A second model that gets a share of the requests."""

    uri: ModelUriText = Field(description="The canary's model URI, written as in model.uri.")
    weight: Annotated[int, Field(ge=0, le=100)] = Field(
        description="The share of the requests that the canary gets, in percent."
    )


HOLD_TIME = Schema(
    Rule(
        f"!{matches(quantity.DURATION)} || duration(self) <= duration('24h')",
        "write a time of at most 24h, like 10m",
    )
)
Hold = Annotated[Duration, HOLD_TIME]


class Pause(KubeModel):
    """A rollout that waits."""

    duration: Hold | None = Field(
        default=None, description="How long; left out, until a person resumes the rollout."
    )


class RolloutStep(KubeModel):
    """One step of a rollout: a weight, or a pause."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.weight) != has(self.pause)",
            "a step is a weight or a pause: write one of the two, like {weight: 10, hold: 2m} or "
            "{pause: {}}",
        ),
        Rule(
            "!has(self.hold) || has(self.weight)",
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
            "How long the weight is held, from when the gateway has it; left out, no longer than "
            "that takes."
        ),
    )
    pause: Pause | None = Field(
        default=None, description="Wait with the weight as it is, until a person resumes."
    )


class Gates(KubeModel):
    """What a new model version must fulfil before it gets any request."""

    tags: Annotated[dict[str, Annotated[str, Field(max_length=250)]], Field(max_length=16)] = Field(
        default_factory=dict,
        description=(
            "Tags that the registered model's version must have, like validation_status: "
            "approved. A version without them waits until it has them."
        ),
    )


class Rollout(KubeModel):
    """How a new revision takes over."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.strategy) && has(self.steps))",
            "a strategy stands for steps: write one of the two",
            field_path=".strategy",
        ),
    )

    strategy: Literal["direct", "canary", "blueGreen"] | None = Field(
        default=None,
        description=(
            "Steps with a name. direct: all requests go to the new revision as soon as it is "
            "ready. canary: 10, 25 and 50 % of them, for two minutes each. blueGreen: all of them "
            "once it has as many pods as the old one, which stays ready to take them back for five "
            "minutes. Left out, with neither steps: direct."
        ),
    )
    steps: Annotated[list[RolloutStep], Field(min_length=1, max_length=32), ATOMIC] | None = Field(
        default=None,
        description=(
            "The shares that the new revision gets one after the other, before it takes over, like "
            "[{weight: 10, hold: 2m}, {pause: {}}, {weight: 50, hold: 2m}]."
        ),
    )
    keep_old: Hold | None = Field(
        default=None,
        description=(
            "How long the pods of a revision that has lost its requests stay, like 10m: going back "
            "to it takes no time then, and one that was turned back can be looked at. Left out, "
            "as long as requests that it has take."
        ),
    )
    gates: Gates = Field(
        default=Gates(),
        description="What a new model version must fulfil before it gets any request.",
    )
    freeze: Annotated[list[FreezeWindow], Field(max_length=16), ATOMIC] = Field(
        default_factory=list,
        description="Times in which no rollout starts; one that runs goes on.",
    )
    debounce: Hold | None = Field(
        default=None,
        description=(
            "How long the model URI must have resolved to the same version before its rollout "
            "starts, like 30s. Left out, it starts at once."
        ),
    )
    flap_protection: FlapProtection = Field(
        default=FlapProtection(),
        description="When a model URI that resolves to another version again and again waits.",
    )
    registry: RegistryWrites = Field(
        default=RegistryWrites(), description="What the operator writes into the registry."
    )
    on_success: OnSuccess = Field(
        default=OnSuccess(), description="What happens after a version has taken over."
    )

    @property
    def writes_registry(self) -> bool:
        """Whether the operator is to write into the registry."""
        return self.registry.write_back or self.on_success.set_alias is not None

    @property
    def keep_seconds(self) -> float:
        """keepOld in seconds."""
        return quantity.seconds(self.keep_old) if self.keep_old else 0.0


class GatewayRef(KubeModel):
    """A Gateway (Gateway API)."""

    name: ObjectName = Field(description="The Gateway's name.")
    namespace: LabelName | None = Field(
        default=None, description="The Gateway's namespace; left out, the resource's own."
    )


class Routing(KubeModel):
    """How requests from outside reach the model."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.hostnames) || size(self.hostnames) == 0 || has(self.gateway)",
            "hostnames only work with a gateway: write routing.gateway.name too, or leave out "
            "hostnames",
        ),
    )

    gateway: GatewayRef | None = Field(
        default=None,
        description=(
            "The Gateway that routes requests to the model, by an HTTPRoute, which splits the "
            "traffic exactly. Left out, the model can be reached inside the cluster only, by the "
            "Service of the resource's name."
        ),
    )
    hostnames: Annotated[list[Hostname], Field(max_length=16), SET] = Field(
        default_factory=list,
        description="The host names to serve; left out, all of the Gateway's.",
    )
    path: RoutePath = Field(
        default="/",
        description="The path before /invocations and /ping, like / or /wine.",
    )
    timeout: Duration = Field(
        default="30s",
        description=(
            "How long a request may take, like 500ms, 30s or 2m; 0s means no limit. Requests in "
            "flight get as much time when a pod ends, but no more than an hour (with server.image "
            "and 0s: 30 seconds). A change makes new pods."
        ),
    )


class ApiKeysSecret(KubeModel):
    """A key of a Secret in the resource's namespace that holds API keys."""

    name: ObjectName = Field(description="The Secret's name.")
    key: ConfigKey = Field(
        default="keys",
        description=(
            "The key of the Secret whose value has an API key on each line, written as <name>:<API "
            "key>, with at least 16 characters for the API key."
        ),
    )


class Jwt(KubeModel):
    """JSON Web Tokens of an issuer."""

    issuer: Claim = Field(description="The iss of the tokens, like https://issuer.example.com.")
    jwks_url: JwksUrl = Field(
        description=(
            "The URL of the issuer's JSON Web Key Set, like "
            "https://issuer.example.com/.well-known/jwks.json. The pods fetch it themselves."
        )
    )
    audience: Claim = Field(description="The aud that tokens for this model must have, like wine.")


class RateLimit(KubeModel):
    """How often a caller may send requests."""

    requests_per_second: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        description=(
            "Requests per second for each API key or token's subject; for each address, where "
            "neither is required. Each worker of each pod counts its own."
        )
    )
    burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description=("Requests at once after a pause. Left out, twice requestsPerSecond."),
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
    """Who in the cluster may send requests."""

    namespaces: Annotated[list[LabelName], Field(min_length=1, max_length=64), SET] | None = Field(
        default=None,
        description=(
            "The namespaces whose pods may connect to the model's pods, by a NetworkPolicy. Write "
            "the namespace of the gateway's proxies too, where routing.gateway is set, and the "
            "resource's own, if pods there are callers. Left out, there is no NetworkPolicy."
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
            "The ServiceAccounts whose tokens are accepted, with jwt for the cluster's issuer. "
            "Left out, all tokens that jwt describes are."
        ),
    )


class Access(KubeModel):
    """Who may send requests, and how often."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.allowedCallers) || !has(self.allowedCallers.serviceAccounts) || "
            "has(self.jwt)",
            "ServiceAccounts show who they are by tokens of the cluster's issuer: write jwt with "
            "its issuer and jwksUrl too, or leave out serviceAccounts",
            field_path=".allowedCallers",
        ),
    )

    api_keys_secret: ApiKeysSecret | None = Field(
        default=None,
        description=(
            "The API keys: requests need one of them in the header Authorization: Bearer <API "
            "key>. Where jwt is set too, either will do. No pod starts without the Secret."
        ),
    )
    jwt: Jwt | None = Field(
        default=None,
        description=(
            "Requests need a JSON Web Token of this issuer in the header Authorization: Bearer "
            "<token>."
        ),
    )
    rate_limit: RateLimit | None = Field(
        default=None, description="How often each caller may send requests; else the answer is 429."
    )
    allowed_callers: AllowedCallers | None = Field(
        default=None, description="Who in the cluster may send requests."
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
    """Whose signature a model must have: that of one of these keys, or of a certificate."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.publicKeys) || has(self.certificateAuthorities)",
            "nobody could sign: write publicKeys, or certificateAuthorities, or both",
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
            "Certificates (PEM) of authorities: a certificate for signatures that any of them has "
            "issued will do."
        ),
    )


class ModelPolicy(KubeModel):
    """Which models may be served. It can only narrow what the administrator allows."""

    sources: Annotated[list[SourcePattern], Field(min_length=1, max_length=64), SET] | None = Field(
        default=None,
        description=(
            "Where models may come from: models:/<name>, where the name may have wildcards, a "
            "scheme like runs:, or the beginning of a URI up to a slash. Left out, anywhere."
        ),
    )
    formats: Annotated[list[Format], Field(min_length=1, max_length=16), SET] | None = Field(
        default=None,
        description=(
            "The formats that the files of a model may have; whether they do is checked before "
            "anything of the model is loaded. Left out, any."
        ),
    )
    signatures: Signatures | None = Field(
        default=None,
        description=(
            "Whose signature a model must have, as the file model.sig that OpenSSF's model-signing "
            "makes; it is verified before anything of the model is loaded. Left out, none."
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
            f"{MODEL_DIR}, {CA_DIR}, {ACCESS_DIR} and /tmp hold the operator's own volumes: mount "
            "this one elsewhere, like /mnt/models",
            field_path=".mountPath",
        ),
    )

    name: LabelName = Field(description="The name of one of spec.pod.volumes.")
    mount_path: AbsolutePath = Field(description="The path in the containers.")
    read_only: bool | None = Field(default=None, description="Whether writing is refused.")
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
        default=None, description="Whether readOnly holds for mounts below this one too."
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
            "Mount the ServiceAccount's token for the Kubernetes API, for models that use that "
            "API. The workload identities of cloud providers do not need it."
        ),
    )
    labels: LabelMap = Field(default_factory=dict, description="More labels for the pods.")
    annotations: AnnotationMap = Field(
        default_factory=dict, description="More annotations for the pods."
    )
    volumes: Annotated[list[Volume], Field(max_length=64), map_by("name")] = Field(
        default_factory=list, description="More volumes for the pods."
    )
    volume_mounts: Annotated[list[VolumeMount], Field(max_length=64), map_by("mountPath")] = Field(
        default_factory=list,
        description="Where those volumes are mounted, in the containers prepare and server.",
    )
    image_pull_secrets: Annotated[
        list[LocalObjectReference], Field(max_length=16), map_by("name")
    ] = Field(default_factory=list, description="Secrets to pull the images with.")
    priority_class_name: ObjectName | None = Field(
        default=None, description="The PriorityClass of the pods."
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
            "a canary and the steps of a rollout would share the same requests: leave out canary, "
            "or leave out rollout.steps and write no other rollout.strategy than direct",
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
        default=None, description="The GPUs of each pod; left out, the model runs on CPUs."
    )
    scaling: Scaling = Field(default=Scaling(), description="How many pods serve the model.")
    canary: Canary | None = Field(
        default=None,
        description="A second model, which gets a share of the requests until changed.",
    )
    rollout: Rollout = Field(
        default=Rollout(),
        description=(
            "How a new revision takes over, when model.uri resolves to another version or the pods "
            "change; left out, as soon as it is ready."
        ),
    )
    routing: Routing = Field(
        default=Routing(), description="How requests from outside reach the model."
    )
    access: Access = Field(
        default=Access(),
        description="Who may send requests, and how often; left out, whoever can connect.",
    )
    policy: ModelPolicy = Field(
        default=ModelPolicy(),
        description=(
            "Which models may be served; it can only narrow what the administrator allows."
        ),
    )
    pod: Pod = Field(
        default=Pod(),
        description="Other settings of the pods: node selection, volumes, identity, labels.",
    )
