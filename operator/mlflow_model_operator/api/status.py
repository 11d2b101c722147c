"""`status` of an MLflowModelDeployment, which the operator writes.

A restarted operator goes on from here, and where it is lost, from the live objects; pods never
read it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from mlflow_model_operator.api.schema import ATOMIC, KubeModel, map_by

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class StatusModel(KubeModel):
    """A part of status; unknown fields, of another version of the operator, are ignored."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema without defaults: the operator must read back exactly what it wrote."""
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        for part in schema["properties"].values():
            part.pop("default", None)
        return schema


class StatusCondition(StatusModel):
    """One condition, as Kubernetes defines them."""

    type: str = Field(description="The aspect of the resource, like Available.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: str = Field(default="", description="Why, as one word, for programs.")
    message: str = Field(default="", description="Why, and what to do, for people.")
    last_transition_time: Time | None = Field(default=None, description="When status last changed.")
    observed_generation: int | None = Field(
        default=None, description="The metadata.generation that the condition is based on."
    )


class PastRevision(StatusModel):
    """A revision that was rolled out, with what it takes to serve its model version again."""

    revision: str = Field(description="The revision.")
    model_version: str | None = Field(default=None, description="Its model version.")
    model_uri: str | None = Field(default=None, description="What its pods fetch.")
    requested_uri: str | None = Field(
        default=None, description="The URI in spec that resolved to this version."
    )
    name: str | None = Field(default=None, description="The registered model's name, if any.")
    tracking_uri: str | None = Field(
        default=None, description="The tracking server that has it, if one is needed."
    )
    python_version: str | None = Field(
        default=None, description="The Python version that the model was logged with, if known."
    )
    model_created: int | None = Field(
        default=None,
        description="When the model version was registered, in milliseconds since 1970.",
    )


class RevisionStatus(StatusModel):
    """A revision: one model version with one pod template."""

    revision: str = Field(description="The name of its Deployment, Service and autoscaler.")
    model_version: str = Field(
        description="The model version: its number, or the id of its model or run."
    )
    model_uri: str = Field(description="What the pods fetch; never changes.")
    requested_uri: str = Field(description="The URI in spec that resolved to this version.")
    name: str | None = Field(default=None, description="The registered model's name, if any.")
    tracking_uri: str | None = Field(
        default=None, description="The tracking server that has it, if one is needed."
    )
    python_version: str | None = Field(
        default=None, description="The Python version that the model was logged with, if known."
    )
    model_created: int | None = Field(
        default=None,
        description=(
            "When the model version was registered, in milliseconds since 1970, where modelUri "
            "alone does not tell it from one that is registered again under the same number."
        ),
    )
    ready_replicas: int = Field(default=0, description="Pods that answer.")


class TrafficTarget(StatusModel):
    """The share of the requests of a revision."""

    revision: str = Field(description="The revision.")
    model_version: str | None = Field(default=None, description="Its model version.")
    weight: int = Field(description="Its share of the requests, in percent.")


class FailedRevision(PastRevision):
    """A revision that was turned back."""

    schedule: str | None = Field(
        default=None, description="A hash of spec.rollout; with another one it is tried again."
    )
    reason: str = Field(default="", description="Why, as one word, for programs.")
    message: str = Field(default="", description="Why, for people.")
    at: Time | None = Field(default=None, description="When it was turned back.")


class HistoryEntry(PastRevision):
    """A revision that was rolled out, or was to be."""

    trigger: str = Field(
        default="",
        description=(
            "Why it was rolled out: Registry (the URI resolved to another version), Spec (the spec "
            "changed), Operator (a new pod template of the operator), Recovery (it answered where "
            "the stable revision did not), Undo (a person went back to it) or Start (the first "
            "one)."
        ),
    )
    verdict: str = Field(
        default="",
        description=(
            "What became of it: Promoted, Failed, Aborted or Superseded (another one was to be "
            "rolled out before it was)."
        ),
    )
    at: Time | None = Field(default=None, description="When that was decided.")


class RolloutStatus(StatusModel):
    """The state of the change from one revision to the next."""

    phase: str = Field(
        default="Stable",
        description=(
            "The phase: Starting, Updating, Moving, Draining, Stable or Stopped; with steps also "
            "Preparing, Progressing, Paused or Promoting; and Undoing or Failed."
        ),
    )
    revision: str | None = Field(default=None, description="The revision that is rolled out.")
    trigger: str | None = Field(
        default=None, description="Why it is rolled out, as in status.history."
    )
    message: str = Field(default="", description="The state of the rollout, for people.")
    started_at: Time | None = Field(default=None, description="When this phase began.")
    waiting_for: str | None = Field(
        default=None,
        description=(
            "What a rollout in steps waits for: Gates, Pods, Route, Stable, Hold, Resume or "
            "Analysis."
        ),
    )
    step: int | None = Field(
        default=None, description="The step that the rollout has reached, from 1; 0 before it."
    )
    steps: int | None = Field(default=None, description="How many steps the rollout has.")
    weight: int | None = Field(
        default=None, description="The share of the requests at this step, in percent."
    )
    target_since: Time | None = Field(
        default=None, description="When the rollout of this revision began."
    )
    step_started_at: Time | None = Field(
        default=None, description="Since when the gateway has the weight of this step."
    )
    paused_at: Time | None = Field(
        default=None, description="When the rollout was paused, if it is."
    )
    resumed_at: Time | None = Field(
        default=None, description="When a person resumed the rollout at this step."
    )
    stable_replicas: int | None = Field(
        default=None,
        description="The pods of the stable revision when the rollout began, which it keeps.",
    )
    schedule: str | None = Field(
        default=None, description="A hash of spec.rollout, as the rollout began with it."
    )
    last_control: str | None = Field(
        default=None,
        description="The value of the annotation …/rollout that was acted upon last.",
    )
    failed: Annotated[list[FailedRevision], ATOMIC] = Field(
        default_factory=list,
        description="Revisions that were turned back, and are not tried again by themselves.",
    )


class DrainingRevision(StatusModel):
    """A revision that has lost its traffic and will be removed."""

    revision: str = Field(description="The revision.")
    since: Time | None = Field(default=None, description="When it lost its traffic.")


class Status(StatusModel):
    """The observed state."""

    observed_generation: int | None = Field(
        default=None, description="The metadata.generation that status is based on."
    )
    conditions: Annotated[list[StatusCondition], map_by("type")] = Field(
        default_factory=list,
        description=(
            "Ready sums up; ModelResolved, Available, Progressing, RouteAccepted, CanaryReady and "
            "TrafficSplit are its parts. True is good, except for Progressing."
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
        description="The revision that is getting ready to take the traffic, if any.",
    )
    canary: RevisionStatus | None = Field(default=None, description="The canary revision.")
    traffic: Annotated[list[TrafficTarget], ATOMIC] = Field(
        default_factory=list, description="The share of the requests of each revision; sums to 100."
    )
    routed_revisions: Annotated[list[str], ATOMIC] | None = Field(
        default=None,
        description="The revisions that the route led to when its Gateway accepted it last.",
    )
    rollout: RolloutStatus | None = Field(
        default=None, description="The state of the change from one revision to the next."
    )
    history: Annotated[list[HistoryEntry], ATOMIC] = Field(
        default_factory=list, description="The last ten rollouts, the newest last."
    )
    draining: Annotated[list[DrainingRevision], ATOMIC] = Field(
        default_factory=list, description="Revisions that are finishing their in-flight requests."
    )

    def condition(self, type_: str) -> StatusCondition | None:
        """The condition of that type, if there is one."""
        return next((entry for entry in self.conditions if entry.type == type_), None)
