"""An MLflowModelDeployment as the operator parses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mlflow_model_operator.api.schema import Rule
from mlflow_model_operator.api.spec import Spec
from mlflow_model_operator.api.status import Status

# Kubernetes names may have 63 characters; a revision's name adds "-" and ten of hash.
MAX_NAME_LENGTH = 50

# Rules that need metadata, which only the root of a resource shows to CEL.
ROOT_RULES = (
    Rule(
        f"size(self.metadata.name) <= {MAX_NAME_LENGTH}",
        f"the name is too long: write at most {MAX_NAME_LENGTH} characters, so that the names of "
        "its Deployments and Services fit into the 63 that Kubernetes allows",
        message_expression=(
            f"'metadata.name has %d characters: write at most {MAX_NAME_LENGTH}, so that the names "
            "of its Deployments and Services fit into the 63 that Kubernetes allows'"
            ".format([size(self.metadata.name)])"
        ),
    ),
    Rule(
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name becomes the name of a Service: write lower-case letters, digits and '-', "
        "starting with a letter, like wine-quality",
    ),
)


class Key(NamedTuple):
    """The namespace and name of an object, mostly of an MLflowModelDeployment."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class InvalidResource(ValueError):
    """The operator cannot use this resource; the message names the field and the fix."""


@dataclass(frozen=True)
class MLflowModelDeployment:
    """Serves an MLflow model on Kubernetes, and follows the model registry."""

    name: str
    namespace: str
    uid: str  # differs from that of an earlier resource of the same name
    generation: int  # counts the changes of spec
    spec: Spec
    status: Status = field(default_factory=Status)

    @classmethod
    def parse(cls, obj: Mapping[str, Any]) -> MLflowModelDeployment:
        """Reads the resource as the API server returns it.

        Raises InvalidResource with one sentence that names the field and what to write.
        """
        metadata = obj.get("metadata") or {}
        try:
            spec = Spec.model_validate(obj.get("spec") or {})
        except ValidationError as error:
            raise InvalidResource(_sentence(error)) from None
        return cls(
            name=metadata.get("name") or "",
            namespace=metadata.get("namespace") or "default",
            uid=metadata.get("uid") or "",
            generation=metadata.get("generation") or 0,
            spec=spec,
            status=_status(obj.get("status")),
        )

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return Key(self.namespace, self.name)

    @property
    def gateway(self) -> Key | None:
        """The Gateway that spec.routing names; None where it names none."""
        gateway = self.spec.routing.gateway
        return Key(gateway.namespace or self.namespace, gateway.name) if gateway else None


def _status(raw: Any) -> Status:
    """The parsed status; one that is not valid is ignored, and so written again."""
    try:
        return Status.model_validate(raw or {})
    except ValidationError:
        return Status()


def _sentence(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    more = f" ({len(problems) - 1} more in this resource)" if len(problems) > 1 else ""
    return f"{_problem(problems[0])}{more}"


def _problem(problem: ErrorDetails) -> str:
    path = _path(problem["loc"])
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{path} is not a field of this resource: correct its name or remove it"
    if kind == "missing":
        return f"{path} is missing: set it"
    if kind == "value_error":
        return f"{path}: {context['error']}"
    expectation = problem["msg"].removeprefix("Input ").removeprefix("String ")
    return f"{path} is {_short(problem['input'])}: it {expectation}"


def _path(location: tuple[int | str, ...]) -> str:
    """ "spec.server.env[1].name" for ("server", "env", 1, "name")."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "spec" + "".join(parts)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
