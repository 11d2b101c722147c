"""`status` of an MLflowModelDeployment, which the operator writes.

After a restart, the operator continues from here or, if the status is lost, from the live objects.
Pods never read it.
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
    status: Literal["True", "False", "Unknown"] = Field(description="Whether the condition holds.")
    reason: str = Field(default="", description="The reason, as a single word for programs.")
    message: str = Field(default="", description="The reason and the fix, for people.")
    last_transition_time: Time | None = Field(default=None, description="When status last changed.")
    observed_generation: int | None = Field(
        default=None, description="The metadata.generation that the condition is based on."
    )


class PastRevision(StatusModel):
    """A revision that was rolled out, with all that is needed to serve its model version again."""

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
    model_uri: str = Field(description="The URI that the pods download; it never changes.")
    requested_uri: str = Field(description="The URI in spec that resolved to this version.")
    name: str | None = Field(default=None, description="The registered model's name, if any.")
    tracking_uri: str | None = Field(
        default=None, description="The tracking server of the model version, if one is needed."
    )
    python_version: str | None = Field(
        default=None, description="The Python version that the model was logged with, if known."
    )
    model_created: int | None = Field(
        default=None,
        description=(
            "When the model version was registered, in milliseconds since 1970, if "
            "modelUri alone does not distinguish it from a version that is "
            "registered again with the same number."
        ),
    )
    trigger: str | None = Field(
        default=None,
        description="Of a canary: why it was started, as in status.history: Spec, Registry or "
        "Operator.",
    )
    ready_replicas: int = Field(default=0, description="The number of ready pods.")


class VariantStatus(RevisionStatus):
    """The revision of one of spec.variants."""

    variant: str = Field(default="", description="The variant's name.")


class ShadowStatus(RevisionStatus):
    """The revision that receives copies of requests, as the pods that send them count."""

    phase: str = Field(
        default="",
        description=(
            "Starting, Shadowing (pods of the stable revision have reported that they send "
            "copies), Stopped or Failed; see the condition ShadowReady."
        ),
    )
    percent: int | None = Field(
        default=None, description="The share of the requests that is copied, in percent."
    )
    senders: int = Field(
        default=0, description="The number of pods of the stable revision that send copies."
    )
    checked_at: Time | None = Field(
        default=None, description="When the metrics of these pods were read last."
    )
    unreachable_pods: int = Field(
        default=0, description="The number of ready pods whose metrics could not be read."
    )
    unreachable_reason: str | None = Field(
        default=None, description="Why the metrics of one of them could not be read."
    )
    requests: int = Field(
        default=0,
        description=(
            "The number of copies sent by the pods that send copies now; like the following "
            "fields, since each of them has sent copies to this revision."
        ),
    )
    errors: int = Field(
        default=0,
        description=(
            "The number of copies that failed: another status than 2xx, no response in time, or "
            "no connection."
        ),
    )
    dropped: int = Field(
        default=0, description="The number of copies that were not sent, to spare the pods."
    )
    incomparable: int = Field(
        default=0, description="The number of responses that could not be compared."
    )
    compared_rows: int = Field(default=0, description="The number of compared rows.")
    disagreement_percent: float | None = Field(
        default=None, description="The share of these rows with another prediction, in percent."
    )
    mean_absolute_error: float | None = Field(
        default=None, description="The mean absolute difference between predicted numbers."
    )
    latency_p95_milliseconds: float | None = Field(
        default=None,
        alias="latencyP95Milliseconds",
        description=(
            "The 95th percentile of the time to the response, measured by the sending pods at low "
            "priority: longer than clients would wait."
        ),
    )


class TrafficTarget(StatusModel):
    """A revision's share of the requests."""

    revision: str = Field(description="The revision.")
    model_version: str | None = Field(default=None, description="Its model version.")
    variant: str | None = Field(default=None, description="The variant's name, if it is one.")
    weight: int = Field(description="Its share of the requests, in percent.")


class FailedRevision(PastRevision):
    """A revision that was rolled back."""

    schedule: str | None = Field(
        default=None,
        description="A hash of spec.rollout; if it changes, the revision is tried again.",
    )
    reason: str = Field(default="", description="The reason, as a single word for programs.")
    message: str = Field(default="", description="The reason, for people.")
    at: Time | None = Field(default=None, description="When it was rolled back.")


class HistoryEntry(PastRevision):
    """A completed or abandoned rollout of a revision."""

    trigger: str = Field(
        default="",
        description=(
            "What started the rollout: Registry (the URI resolved to another "
            "version), Spec (the spec changed), Operator (the operator's pod "
            "template changed), Recovery (this revision was ready while the stable "
            "one was not), Undo (a user went back to it) or Start (the first revision)."
        ),
    )
    verdict: str = Field(
        default="",
        description=(
            "The result: Promoted, Failed, Aborted or Superseded (the rollout of "
            "another revision started first)."
        ),
    )
    at: Time | None = Field(default=None, description="When the rollout ended.")


class MetricStatus(StatusModel):
    """The result of one metric of an analysis."""

    name: str = Field(description="The metric.")
    verdict: str = Field(default="", description="Good, Bad or Inconclusive.")
    stable: str | None = Field(default=None, description="The value of the stable revision.")
    target: str | None = Field(default=None, description="The value of the new revision.")
    message: str = Field(default="", description="The values and the limit, for people.")


class AnalysisStatus(StatusModel):
    """The results of an analysis, as of its last check of the metrics."""

    step: int = Field(default=0, description="The step, starting with 1.")
    step_started_at: Time | None = Field(default=None, description="When that step began.")
    window_started_at: Time | None = Field(
        default=None, description="The beginning of the time that is evaluated."
    )
    checked_at: Time | None = Field(default=None, description="When the metrics were read last.")
    verdict: str = Field(
        default="",
        description="Good, Bad, or Inconclusive if neither can be said with the confidence.",
    )
    message: str = Field(default="", description="The reason for the verdict, for people.")
    dry_run: bool | None = Field(
        default=None, description="True if the verdict has no consequences (dryRun)."
    )
    stable_requests: int = Field(
        default=0, description="Requests to the stable revision in that time."
    )
    target_requests: int = Field(
        default=0, description="Requests to the new revision in that time."
    )
    pods: int = Field(default=0, description="The number of pods whose metrics were read.")
    unreachable_pods: int = Field(
        default=0, description="The number of ready pods whose metrics could not be read."
    )
    unreachable_reason: str | None = Field(
        default=None, description="Why the metrics of one of them could not be read."
    )
    counter_resets: int = Field(
        default=0, description="How often counters restarted from zero, with their container."
    )
    tests: int = Field(
        default=0, description="How often the step was tested; each test is stricter than before."
    )
    failures: int = Field(default=0, description="The number of checks with a bad metric.")
    metrics: Annotated[list[MetricStatus], ATOMIC] = Field(
        default_factory=list, description="The result of each metric."
    )


class RolloutStatus(StatusModel):
    """The state of the change from one revision to the next."""

    phase: str = Field(
        default="Stable",
        description=(
            "The phase: Starting, Updating, Moving, Draining, Stable or Stopped; "
            "with steps, also Preparing, Progressing, Paused, Promoting; Undoing; or Failed."
        ),
    )
    revision: str | None = Field(default=None, description="The revision that is being rolled out.")
    trigger: str | None = Field(
        default=None, description="What started the rollout, as in status.history."
    )
    message: str = Field(default="", description="The state of the rollout, for people.")
    started_at: Time | None = Field(default=None, description="When this phase began.")
    waiting_for: str | None = Field(
        default=None,
        description=(
            "What a rollout with steps waits for: Gates, Pods, Route, Stable, Hold, "
            "Resume, Analysis or Shadow."
        ),
    )
    step: int | None = Field(
        default=None, description="The current step, starting with 1; 0 before the first step."
    )
    steps: int | None = Field(default=None, description="The number of steps of the rollout.")
    weight: int | None = Field(default=None, description="The weight of this step, in percent.")
    shadow_percent: int | None = Field(
        default=None,
        description="The share of the requests that the new revision receives copies of at this "
        "step, in percent.",
    )
    accepted_weight: int | None = Field(
        default=None,
        description="The weight that the Gateway has accepted, in percent; only with a Gateway.",
    )
    observed_weight: int | None = Field(
        default=None,
        description=(
            "The share of the requests that the new revision received between the last two checks "
            "of the metrics, in percent; only with an analysis."
        ),
    )
    analysis: AnalysisStatus | None = Field(
        default=None, description="The results of spec.rollout.analysis."
    )
    target_since: Time | None = Field(
        default=None, description="When the rollout of this revision began."
    )
    step_started_at: Time | None = Field(
        default=None, description="When the gateway applied the weight of this step."
    )
    paused_at: Time | None = Field(
        default=None, description="When the rollout was paused, if it is paused."
    )
    resumed_at: Time | None = Field(
        default=None, description="When someone resumed the rollout at this step."
    )
    unready_since: Time | None = Field(
        default=None,
        description=(
            "Since when the new revision has had no ready pod, in a rollout with a surge below 100."
        ),
    )
    stable_replicas: int | None = Field(
        default=None,
        description=(
            "The number of pods of the stable revision when the rollout began; it keeps that many."
        ),
    )
    schedule: str | None = Field(
        default=None, description="A hash of spec.rollout when the rollout began."
    )
    last_control: str | None = Field(
        default=None,
        description="The value of the annotation …/rollout that the operator acted on last.",
    )
    failed: Annotated[list[FailedRevision], ATOMIC] = Field(
        default_factory=list,
        description="Revisions that were rolled back, and are not tried again automatically.",
    )


class PostponedRollout(StatusModel):
    """A rollout that has not started yet."""

    revision: str = Field(description="The revision.")
    model_version: str | None = Field(default=None, description="Its model version.")
    trigger: str = Field(default="", description="Why it is to be rolled out, as in history.")
    reason: str = Field(
        default="", description="Why it waits: Frozen, Flapping or Debouncing, for programs."
    )
    since: Time | None = Field(default=None, description="Since when it waits.")
    until: Time | None = Field(default=None, description="When it starts at the earliest.")


class RegistryVersion(StatusModel):
    """A model version whose verdict is written to the registry."""

    name: str = Field(description="The registered model.")
    version: str = Field(description="Its version.")
    verdict: str = Field(
        description="Promoted, Failed, Aborted, Superseded, or Replaced by the one that serves now."
    )
    since: Time | None = Field(default=None, description="Since when.")
    reason: str = Field(default="", description="Why, as one word, for programs.")
    message: str = Field(default="", description="Why, for people.")


class RegistryAlias(StatusModel):
    """The alias of rollout.onSuccess, as the last promotion asks for it."""

    alias: str = Field(description="The alias.")
    name: str = Field(description="The registered model.")
    version: str = Field(description="The version that was promoted.")
    promoted_at: Time | None = Field(default=None, description="When.")
    is_set: bool = Field(
        default=False, description="Whether it was set. It is not set again for this promotion."
    )


class RegistryStatus(StatusModel):
    """What the operator writes, or has written, into the registry."""

    versions: Annotated[list[RegistryVersion], ATOMIC] = Field(
        default_factory=list, description="The last versions that were rolled out here."
    )
    alias: RegistryAlias | None = Field(
        default=None, description="The alias of the last promotion."
    )


class RefusedRules(StatusModel):
    """Rules of the route that the gateway does not support, and that are left out of it."""

    rules: str = Field(description="Sticky (routing.sticky) or Match (match).")
    hash: str = Field(
        default="",
        description="A hash of these rules and the gateway in spec; if it changes, they are tried "
        "again.",
    )
    reason: str = Field(default="", description="The Gateway API's reason, for programs.")
    message: str = Field(default="", description="The gateway's reason, for people.")


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
            "The conditions: Ready summarizes ModelResolved, Available, Progressing, "
            "RouteAccepted, RulesAccepted, CanaryReady, VariantsReady and TrafficSplit, but not "
            "ShadowReady. While it is False, Reconciling or Stalled is present. True is the "
            "desired status, except for Progressing, Reconciling and Stalled."
        ),
    )
    url: str | None = Field(default=None, description="The URL for requests.")
    replicas: int | None = Field(
        default=None, description="The number of pods of all revisions with traffic."
    )
    selector: str | None = Field(
        default=None, description="The label selector of those pods, for `kubectl scale`."
    )
    stable: RevisionStatus | None = Field(
        default=None, description="The revision that receives the traffic."
    )
    target: RevisionStatus | None = Field(
        default=None,
        description="The revision that is being prepared to receive the traffic, if any.",
    )
    canary: RevisionStatus | None = Field(default=None, description="The canary revision.")
    variants: Annotated[list[VariantStatus], ATOMIC] = Field(
        default_factory=list, description="The revisions of spec.variants."
    )
    shadow: ShadowStatus | None = Field(
        default=None, description="The revision that receives copies of requests, if any."
    )
    traffic: Annotated[list[TrafficTarget], ATOMIC] = Field(
        default_factory=list,
        description="Each revision's share of the requests, in percent, summing to 100.",
    )
    matched: Annotated[list[str], ATOMIC] = Field(
        default_factory=list,
        description="The revisions to which requests that match go, whatever their weight.",
    )
    routed_revisions: Annotated[list[str], ATOMIC] | None = Field(
        default=None,
        description="The revisions in the route that the Gateway accepted last.",
    )
    refused_rules: Annotated[list[RefusedRules], ATOMIC] = Field(
        default_factory=list,
        description="Rules that the gateway refused; the route has only the others.",
    )
    rollout: RolloutStatus | None = Field(
        default=None, description="The state of the change from one revision to the next."
    )
    history: Annotated[list[HistoryEntry], ATOMIC] = Field(
        default_factory=list, description="The last ten rollouts, the newest last."
    )
    postponed: PostponedRollout | None = Field(
        default=None, description="The rollout that waits for its time to start, if any."
    )
    registry: RegistryStatus | None = Field(
        default=None, description="What is written back to the registry, if anything is."
    )
    draining: Annotated[list[DrainingRevision], ATOMIC] = Field(
        default_factory=list, description="Revisions that are finishing their in-flight requests."
    )

    def condition(self, type_: str) -> StatusCondition | None:
        """The condition of that type, if there is one."""
        return next((entry for entry in self.conditions if entry.type == type_), None)
