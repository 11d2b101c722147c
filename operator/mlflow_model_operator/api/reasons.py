"""Every reason that a condition or an event can have.

`docs/conditions.md` says what each means and what to do about it; a test compares the two.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a condition is as it is, as one word for programs."""

    # Reconciled, or progressing
    READY = "Ready"
    RESOLVED = "Resolved"
    MINIMUM_REPLICAS_AVAILABLE = "MinimumReplicasAvailable"
    COMPLETE = "Complete"
    NEW_REVISION = "NewRevision"
    MOVING_TRAFFIC = "MovingTraffic"
    DRAINING = "Draining"
    STARTING = "Starting"
    STOPPED = "Stopped"
    ACCEPTED = "Accepted"
    APPLIED = "Applied"
    SAME_VERSION = "SameVersion"
    # The model URI
    INVALID_SPEC = "InvalidSpec"
    MODEL_UNRESOLVED = "ModelUnresolved"
    INVALID_URI = "InvalidUri"
    POLICY_DENIED = "PolicyDenied"
    TRACKING_URI_MISSING = "TrackingUriMissing"
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    REGISTRY_UNAUTHORIZED = "RegistryUnauthorized"
    REGISTRY_HOST_REJECTED = "RegistryHostRejected"
    REGISTRY_ERROR = "RegistryError"
    MODEL_NOT_FOUND = "ModelNotFound"
    VERSION_NOT_FOUND = "VersionNotFound"
    ALIAS_NOT_FOUND = "AliasNotFound"
    STAGE_EMPTY = "StageEmpty"
    RUN_NOT_FOUND = "RunNotFound"
    LOGGED_MODEL_NOT_FOUND = "LoggedModelNotFound"
    VERSION_NOT_READY = "VersionNotReady"
    PYTHON_VERSION_UNSUPPORTED = "PythonVersionUnsupported"
    # The pods
    NAME_TAKEN = "NameTaken"
    APPLY_REFUSED = "ApplyRefused"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_REJECTED = "PodRejected"
    NO_GPU_NODE = "NoGpuNode"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONFIG_MISSING = "ConfigMissing"
    ACCESS_SECRET_MISSING = "AccessSecretMissing"
    ACCESS_SECRET_INVALID = "AccessSecretInvalid"
    ARTIFACT_UNREADABLE = "ArtifactUnreadable"
    ARTIFACT_UNAUTHORIZED = "ArtifactUnauthorized"
    ARTIFACT_SERVER_UNREACHABLE = "ArtifactServerUnreachable"
    ARTIFACT_SERVER_UNTRUSTED = "ArtifactServerUntrusted"
    DEPENDENCY_INSTALL_FAILED = "DependencyInstallFailed"
    PACKAGE_INDEX_UNAUTHORIZED = "PackageIndexUnauthorized"
    PACKAGE_INDEX_UNTRUSTED = "PackageIndexUntrusted"
    INVALID_MODEL = "InvalidModel"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    INPUT_EXAMPLE_FAILED = "InputExampleFailed"
    OUT_OF_MEMORY = "OutOfMemory"
    CONTAINER_CRASHED = "ContainerCrashed"
    STARTUP_TIMEOUT = "StartupTimeout"
    REVISION_MISSING = "RevisionMissing"
    # The gateway
    GATEWAY_API_MISSING = "GatewayApiMissing"
    GATEWAY_NOT_FOUND = "GatewayNotFound"
    GATEWAY_NOT_PROGRAMMED = "GatewayNotProgrammed"
    HOSTNAME_TAKEN = "HostnameTaken"
    ROUTE_REFUSED = "RouteRefused"
    RULES_REFUSED = "RulesRefused"
    WAITING_FOR_GATEWAY = "WaitingForGateway"
    # The rollout
    ROLLOUT_PROGRESSING = "RolloutProgressing"
    ROLLOUT_PAUSED = "RolloutPaused"
    ROLLOUT_FAILED = "RolloutFailed"
    ROLLOUT_ABORTED = "RolloutAborted"
    ROLLOUT_UNDONE = "RolloutUndone"
    TAGS_MISSING = "TagsMissing"
    FROZEN = "Frozen"
    FLAPPING = "Flapping"
    DEBOUNCING = "Debouncing"
    # What is written back to the registry
    REGISTRY_WRITTEN = "RegistryWritten"
    REGISTRY_WRITE_PENDING = "RegistryWritePending"
    REGISTRY_READ_ONLY = "RegistryReadOnly"
    SIGNATURE_INCOMPATIBLE = "SignatureIncompatible"
    SIGNATURE_UNKNOWN = "SignatureUnknown"
    ANALYSIS_FAILED = "AnalysisFailed"
    ANALYSIS_INCONCLUSIVE = "AnalysisInconclusive"
    # The canary
    CANARY_NOT_READY = "CanaryNotReady"
    CANARY_UNRESOLVED = "CanaryUnresolved"
    APPROXIMATE = "Approximate"
    UPDATE_IN_PROGRESS = "UpdateInProgress"
    STABLE_NOT_READY = "StableNotReady"
    # The shadow
    SHADOWING = "Shadowing"
    SHADOW_PENDING = "ShadowPending"
    SHADOW_UNREACHABLE = "ShadowUnreachable"


# A new revision waits for its time: what is served is what is to be served for now.
POSTPONED_REASONS = (Reason.FROZEN, Reason.FLAPPING, Reason.DEBOUNCING)


class EventReason(StrEnum):
    """Reasons of the events that are not about a condition that became False."""

    SERVING = "Serving"
    NEW_REVISION = "NewRevision"
    TRAFFIC_MOVED = "TrafficMoved"
    ROLLED_BACK = "RolledBack"
    UNDO_STARTED = "UndoStarted"
    CANARY_STARTED = "CanaryStarted"
    STEP_REACHED = "StepReached"
    ROLLOUT_PAUSED = "RolloutPaused"
    DRAINED = "Drained"
