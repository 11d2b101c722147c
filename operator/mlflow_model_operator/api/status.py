"""What the operator writes: `status` of an MLflowModelDeployment.

It holds all that a restarted operator needs, and nothing in it is ever read by the pods.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mlflow_model_operator.api.schema import ATOMIC, KubeModel, map_by

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class StatusModel(KubeModel):
    """A part of status; what another version of the operator wrote into it is passed over."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema without defaults: what the operator wrote is what it must read again."""
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        for part in schema["properties"].values():
            part.pop("default", None)
        return schema


class StatusCondition(StatusModel):
    """One condition, as Kubernetes defines them."""

    type: str = Field(description="What it is about, like Available.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(default="", description="Why, as one word for programs.")
    message: str = Field(default="", description="Why, and what to do, for people.")
    last_transition_time: Time | None = Field(default=None, description="When status last changed.")
    observed_generation: int | None = Field(
        default=None, description="The metadata.generation that it is about."
    )


class RevisionStatus(StatusModel):
    """A revision: one model version with one pod template."""

    revision: str = Field(description="The name of its Deployment, Service and autoscaler.")
    model_version: str = Field(
        description="The model version: its number, or the id of its model or run."
    )
    model_uri: str = Field(description="What the pods fetch; never changes.")
    requested_uri: str = Field(description="The URI in spec that came to mean this version.")
    name: str | None = Field(default=None, description="The registered model's name, if any.")
    tracking_uri: str | None = Field(
        default=None, description="The tracking server that knows it, if one is needed."
    )
    python_version: str | None = Field(
        default=None, description="The Python version that the model was logged with, if known."
    )
    ready_replicas: int = Field(default=0, description="Pods that answer.")


class TrafficTarget(StatusModel):
    """The share of one revision."""

    revision: str = Field(description="The revision.")
    model_version: str | None = Field(default=None, description="Its model version.")
    weight: int = Field(description="Its share of the requests, in percent.")


class RolloutStatus(StatusModel):
    """Where the change from one revision to the next stands."""

    phase: str = Field(default="Stable", description="What is going on: Stable, Starting, …")
    revision: str | None = Field(default=None, description="The revision that it is about.")
    message: str = Field(default="", description="What is going on, for people.")
    started_at: Time | None = Field(default=None, description="When this phase began.")


class DrainingRevision(StatusModel):
    """A revision that has no traffic any more and is about to end."""

    revision: str = Field(description="The revision.")
    since: Time | None = Field(default=None, description="When it lost its traffic.")


class Status(StatusModel):
    """What the operator sees and did."""

    observed_generation: int | None = Field(
        default=None, description="The metadata.generation that status is about."
    )
    conditions: Annotated[list[StatusCondition], map_by("type")] = Field(
        default_factory=list,
        description=(
            "Ready sums up; ModelResolved, Available, Progressing, RouteAccepted, CanaryReady and "
            "TrafficSplit tell why. True is good, except for Progressing."
        ),
    )
    url: str | None = Field(default=None, description="Where to send requests.")
    replicas: int | None = Field(default=None, description="Pods of all revisions with traffic.")
    selector: str | None = Field(
        default=None, description="The label selector of those pods, for `kubectl scale`."
    )
    stable: RevisionStatus | None = Field(
        default=None, description="The revision that has the traffic."
    )
    target: RevisionStatus | None = Field(
        default=None,
        description="The revision that gets ready to take the traffic, where there is one.",
    )
    canary: RevisionStatus | None = Field(default=None, description="The revision on trial.")
    traffic: Annotated[list[TrafficTarget], ATOMIC] = Field(
        default_factory=list, description="Who gets which share of the requests; sums to 100."
    )
    rollout: RolloutStatus | None = Field(
        default=None, description="Where the change from one revision to the next stands."
    )
    draining: Annotated[list[DrainingRevision], ATOMIC] = Field(
        default_factory=list, description="Revisions that finish their last requests."
    )

    def condition(self, type_: str) -> StatusCondition | None:
        """The condition of that type, if there is one."""
        return next((one for one in self.conditions if one.type == type_), None)
