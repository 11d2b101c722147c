"""Fields of spec.shadow, and of the steps and the analysis of a rollout that begins with one."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.schedule import DEFAULT_COPIES
from mlflow_model_operator.api.schema import KubeModel, Rule, Schema, matches
from mlflow_model_operator.api.values import Duration, ModelUriText, Quantity

# The scoring server takes no more.
MAX_BODY_BYTES = 8 * 2**20
_TIMEOUT = Schema(
    Rule(
        f"!{matches(quantity.DURATION)} || "
        "(duration(self) >= duration('100ms') && duration(self) <= duration('5m'))",
        "write a time from 100ms to 5m, like 10s",
    )
)
_BODY_SIZE = Schema(
    Rule(
        "!isQuantity(string(self)) || (!quantity(string(self)).isLessThan(quantity('1')) && "
        "!quantity(string(self)).isGreaterThan(quantity('8Mi')))",
        "write a size from 1 byte to 8Mi, like 1Mi",
    )
)
Percent = Annotated[int, Field(ge=1, le=100)]


class ShadowCopies(KubeModel):
    """Which share of the requests is copied."""

    percent: Percent = Field(
        default=DEFAULT_COPIES,
        description="The share of the requests that is copied, in percent.",
    )


class Shadow(ShadowCopies):
    """A second model that receives copies of requests; nobody receives its responses."""

    uri: ModelUriText = Field(description="The shadow's model URI, written as in model.uri.")
    timeout: Annotated[Duration, _TIMEOUT] = Field(
        default="10s",
        description="How long the response to a copy can take: at least 100ms, at most 5m.",
    )
    max_body_size: Annotated[Quantity, _BODY_SIZE] = Field(
        default="1Mi",
        description=(
            "The maximum size of a request that is copied, and of the two responses to it: at "
            "most 8Mi."
        ),
    )
    examples: Annotated[int, Field(ge=0, le=20)] = Field(
        default=0,
        description=(
            "The number of requests with different predictions that each server process logs, "
            "with both predictions. They contain data of clients; 0 logs none."
        ),
    )
    replicas: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1,
        description="The number of pods of the shadow. It is not scaled automatically.",
    )

    @property
    def timeout_seconds(self) -> float:
        """timeout in seconds."""
        return quantity.seconds(self.timeout)

    @property
    def max_body_bytes(self) -> int:
        """maxBodySize in bytes."""
        return min(max(int(quantity.parse(self.max_body_size)), 1), MAX_BODY_BYTES)


class ShadowLimits(KubeModel):
    """How far the responses to copies may be from those of the stable revision."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.maxDisagreementPercent) || has(self.maxErrorPercent) || "
            "has(self.maxMeanAbsoluteError)",
            "there is no limit: write maxDisagreementPercent, maxErrorPercent or "
            "maxMeanAbsoluteError",
        ),
    )

    max_disagreement_percent: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None,
        description=(
            "Maximum share of the compared rows with another prediction than the stable "
            "revision's, in percent."
        ),
    )
    max_error_percent: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None,
        description=(
            "Maximum share of the copies that failed: another status than 2xx, no response in "
            "time, or no connection; in percent."
        ),
    )
    max_mean_absolute_error: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description=(
            "Maximum mean absolute difference between the numbers that both revisions predict "
            "for the same row."
        ),
    )
