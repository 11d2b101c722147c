"""The one model that is served, as clients see it."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_model_server.codecs.metadata import Spec
from mlflow_model_server.responses import ErrorResponse

SERVER = "mlflow-model-server"
SERVER_VERSION = "0.1.0"
EXTENSIONS = ("binary_tensor_data", "model_repository")
PLATFORM = "mlflow"
DEFAULT_NAME = "mlflow-model"
_MAX_QUOTED = 100  # characters of a name that a message repeats


@dataclass(frozen=True)
class ServedModel:
    """The served model. `configured_name` and `version` may be empty."""

    configured_name: str
    version: str
    spec: Spec  # the signature as the Open Inference Protocol has it

    @property
    def name(self) -> str:
        """Its name in paths and responses."""
        return public_name(self.configured_name)

    def mismatch(self, name: str, version: str | None) -> ErrorResponse | None:
        """The error for a request of another model, or of another version."""
        if name != self.name:
            return _not_found(f"there is no model {_quoted(name)} here: write {self.name!r}")
        if version is not None and version != self.version:
            has = f"write version {self.version!r}" if self.version else "leave the version out"
            return _not_found(f"there is no version {_quoted(version)} of {name!r} here: {has}")
        return None

    def repository_index(self, is_ready: bool, only_ready: bool) -> list[dict[str, str]]:
        """The models here, as the protocol's model repository extension lists them."""
        if only_ready and not is_ready:
            return []
        state, reason = (
            ("READY", "") if is_ready else ("UNAVAILABLE", "no prediction has ended for too long")
        )
        return [{"name": self.name, "version": self.version, "state": state, "reason": reason}]

    def control_refused(self) -> ErrorResponse:
        """The error for a request to load or unload a model."""
        message = (
            f"this server loads and unloads nothing, it serves {self.name!r} while it runs: "
            "change spec.model.uri of its MLflowModelDeployment"
        )
        return ErrorResponse(400, "BAD_REQUEST", message)


def _quoted(text: str) -> str:
    return repr(text[:_MAX_QUOTED])


def public_name(configured: str) -> str:
    """The name in paths and responses of a model with this name, which may be empty."""
    return configured or DEFAULT_NAME


def _not_found(message: str) -> ErrorResponse:
    return ErrorResponse(404, "RESOURCE_DOES_NOT_EXIST", message)
