"""What the operator and the server in a model's pods agree on: variables, ports, folders, volumes.

The pods' environment is rendered from these names, the CRD refuses them in `spec.server.env`, and a
test compares them with the settings of the scoring server.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

HTTP_PORT = 8080
GRPC_PORT = 8081
METRICS_PORT = 9090

# Whether requests can be answered now: of any server that speaks MLflow's protocol.
READINESS_PATH = "/ping"
# Whether a restart would not help: of our own scoring images. STUCK_RESTART_AFTER decides.
LIVENESS_PATH = "/v2/health/live"

SERVER_CONTAINER = "server"

MODEL_DIR = "/model"
CA_DIR = "/ca"
# The API keys of spec.access, as a file of a mounted Secret.
ACCESS_DIR = "/access"
API_KEYS_FILE = f"{ACCESS_DIR}/keys"
# Where the nginx in images of `mlflow models build-docker` writes; the rest of the root file system
# is read-only. Volume name → folder.
BUILD_DOCKER_DIRS = {"nginx-log": "/var/log/nginx", "nginx-lib": "/var/lib/nginx"}
ACCESS_VOLUME = "access"
# The shadow that the pods of the stable revision send copies to. Each revision has a file of its
# own: kubelet replaces $(REVISION), so that no other revision's pods send any.
SHADOW_DIR = "/etc/mlflow-model-operator/shadow"
SHADOW_VOLUME = "shadow"
SHADOW_FILE = f"{SHADOW_DIR}/$(REVISION).json"
RESERVED_VOLUMES = ("model", "tmp", "ca", ACCESS_VOLUME, SHADOW_VOLUME, *BUILD_DOCKER_DIRS)


class Variable(StrEnum):
    """An environment variable of a model's containers that is the operator's to set."""

    MODEL_URI = "MODEL_URI"
    MODEL_DIR = "MODEL_DIR"
    MODEL_NAME = "MODEL_NAME"
    MODEL_VERSION = "MODEL_VERSION"
    REVISION = "REVISION"
    MLFLOW_TRACKING_URI = "MLFLOW_TRACKING_URI"
    WORKERS = "WORKERS"
    MLFLOW_MODELS_WORKERS = "MLFLOW_MODELS_WORKERS"  # WORKERS, for `mlflow models build-docker`
    PORT = "PORT"
    GRPC_PORT = "GRPC_PORT"
    METRICS_PORT = "METRICS_PORT"  # has its default in the pods: METRICS_PORT above
    ONNX = "ONNX"
    SHUTDOWN_TIMEOUT = "SHUTDOWN_TIMEOUT"
    TERMINATION_LOG = "TERMINATION_LOG"  # has its default in the pods: Kubernetes' own
    INDEX_URL = "INDEX_URL"
    # The chart's index, where the resource names none: a variable of its own, so that INDEX_URL may
    # come from spec.model.credentialsSecret, which loses to variables that are set by name.
    DEFAULT_INDEX_URL = "DEFAULT_INDEX_URL"
    FIND_LINKS = "FIND_LINKS"
    CA_BUNDLE = "CA_BUNDLE"
    SSL_CERT_FILE = "SSL_CERT_FILE"
    REQUESTS_CA_BUNDLE = "REQUESTS_CA_BUNDLE"
    HOME = "HOME"
    API_KEYS_FILE = "API_KEYS_FILE"
    JWKS_URL = "JWKS_URL"
    JWT_ISSUER = "JWT_ISSUER"
    JWT_AUDIENCE = "JWT_AUDIENCE"
    JWT_SUBJECTS = "JWT_SUBJECTS"
    RATE_LIMIT = "RATE_LIMIT"
    RATE_BURST = "RATE_BURST"
    ALLOWED_FORMATS = "ALLOWED_FORMATS"
    MODEL_SIGNATURES = "MODEL_SIGNATURES"
    STALENESS_COLUMN = "STALENESS_COLUMN"
    INPUT_EXAMPLE = "INPUT_EXAMPLE"
    INPUT_EXAMPLE_TIMEOUT = "INPUT_EXAMPLE_TIMEOUT"
    SHADOW_FILE = "SHADOW_FILE"


# The field of spec to write instead, where there is one.
FIELDS: Mapping[str, str] = {
    Variable.MODEL_URI: "spec.model.uri",
    Variable.MLFLOW_TRACKING_URI: "spec.model.trackingUri",
    Variable.WORKERS: "spec.server.workers",
    Variable.MLFLOW_MODELS_WORKERS: "spec.server.workers",
    Variable.GRPC_PORT: "spec.server.grpc",
    Variable.ONNX: "spec.server.onnx",
    Variable.SHUTDOWN_TIMEOUT: "spec.routing.timeout",
    Variable.INDEX_URL: "spec.dependencies.indexUrl",
    Variable.DEFAULT_INDEX_URL: "spec.dependencies.indexUrl",
    Variable.FIND_LINKS: "spec.dependencies.findLinks",
    Variable.CA_BUNDLE: "spec.dependencies.caConfigMap",
    Variable.SSL_CERT_FILE: "spec.dependencies.caConfigMap",
    Variable.REQUESTS_CA_BUNDLE: "spec.dependencies.caConfigMap",
    Variable.API_KEYS_FILE: "spec.access.apiKeysSecret",
    Variable.JWKS_URL: "spec.access.jwt.jwksUrl",
    Variable.JWT_ISSUER: "spec.access.jwt.issuer",
    Variable.JWT_AUDIENCE: "spec.access.jwt.audience",
    Variable.JWT_SUBJECTS: "spec.access.allowedCallers.serviceAccounts",
    Variable.RATE_LIMIT: "spec.access.rateLimit.requestsPerSecond",
    Variable.RATE_BURST: "spec.access.rateLimit.burst",
    Variable.ALLOWED_FORMATS: "spec.policy.formats",
    Variable.MODEL_SIGNATURES: "spec.policy.signatures",
    Variable.STALENESS_COLUMN: "spec.server.staleness.column",
    Variable.INPUT_EXAMPLE: "spec.rollout.gates.inputExample",
    Variable.INPUT_EXAMPLE_TIMEOUT: "spec.rollout.gates.inputExample.timeout",
    Variable.SHADOW_FILE: "spec.shadow",
}

# The other settings of the scoring server, which users may write into spec.server.env.
USER_VARIABLES = frozenset(
    {
        "ALLOW_DIRECT_URLS",
        "ALLOW_SOURCE_BUILDS",
        "BATCHING",
        "DRIFT",
        "DRIFT_BASELINE_ROWS",
        "GRPC_MAX_MESSAGE_BYTES",
        "JWKS_ALLOW_HTTP",
        "JWKS_MAX_AGE",
        "MAX_BODY_BYTES",
        "MAX_BYTES_IN_FLIGHT",
        "MAX_COLUMNS",
        "MAX_CONCURRENT_PREDICTIONS",
        "MAX_CONNECTIONS",
        "MAX_QUEUE",
        "MAX_ROWS",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION",
        "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT",
        "MODEL_CREATED",
        "NO_INDEX",
        "REQUEST_LOG",
        "REQUEST_LOG_BODIES",
        "REQUEST_LOG_MAX_BYTES",
        "REQUEST_LOG_SAMPLE",
        "REQUIREMENTS_ENV",
        "REQUIRE_HASHES",
        "STREAM_TIMEOUT",
        "STUCK_RESTART_AFTER",
        "TRACES",
        "TRACE_MAX_BODY_BYTES",
    }
)


def check_variable(name: str) -> str:
    """Returns `name` if users may set it; raises ValueError with a sentence if not."""
    if name not in set(Variable):
        return name
    field = FIELDS.get(name)
    advice = f"write {field} instead" if field else "leave it out"
    raise ValueError(f"{name} is set by the operator: {advice}")
