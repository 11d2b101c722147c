"""Fields of spec.rollout about the registry and the calendar: when a rollout may start, and what is
written back. All of them are opt-in but for the protection from an alias that flaps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field

from mlflow_model_operator.api import cron, quantity
from mlflow_model_operator.api.schema import KubeModel, Rule, Schema, matches, pattern
from mlflow_model_operator.api.values import Duration

# What status.history shows; with more moves the protection would have to remember more.
MAX_MOVES = 10
# Two parties that fight over an alias are noticed at a poll every 15 seconds, and nobody else is.
DEFAULT_WINDOW = "3m"
_SHORT = Schema(
    Rule(
        f"!{matches(quantity.DURATION)} || duration(self) <= duration('24h')",
        "write a time of at most 24h, like 10m",
    )
)
_LONG = Schema(
    Rule(
        f"!{matches(quantity.DURATION)} || (duration(self) >= duration('1m') && "
        "duration(self) <= duration('168h'))",
        "write a time from 1m to 168h, like 62h",
    )
)
_RESERVED_ALIAS = r"(?i)latest|v[0-9]+"


def _read_cron(text: str) -> str:
    time = cron.parse(text)
    if time.next(datetime.now(UTC).timestamp(), UTC) is None:
        raise ValueError(f"{text!r} is a day that never comes: {cron.CRON_HELP}")
    return text


def _read_time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone: write one like Europe/Berlin") from None
    return name


CronText = Annotated[
    str,
    Field(max_length=100),
    AfterValidator(_read_cron),
    Schema(
        pattern(
            r"([0-9A-Za-z*,/-]+ +){4}[0-9A-Za-z*,/-]+",
            f"not a time in cron's form: {cron.CRON_HELP}",
        )
    ),
]
TimeZone = Annotated[
    str,
    Field(max_length=64),
    AfterValidator(_read_time_zone),
    Schema(
        pattern(
            r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}",
            "not a time zone: write one like Europe/Berlin",
        )
    ),
]
Alias = Annotated[
    str,
    Field(min_length=1, max_length=255),
    Schema(
        pattern(r"[A-Za-z0-9_-]+", "an alias has letters, digits, '_' and '-', like champion"),
        Rule(
            f"!{matches(_RESERVED_ALIAS)}",
            "MLflow reserves latest and v with a number: use another alias, like champion",
        ),
    ),
]


class FreezeWindow(KubeModel):
    """A recurring time during which no rollout starts."""

    cron: CronText = Field(
        description=(
            "When it begins: minute, hour, day of the month, month and day of the week, as cron "
            "has them, like 0 18 * * FRI."
        )
    )
    duration: Annotated[Duration, _LONG] = Field(description="How long it lasts, like 62h.")
    time_zone: TimeZone = Field(
        default="UTC", description="The time zone of cron, like Europe/Berlin."
    )


class FlapProtection(KubeModel):
    """When to wait because the model URI keeps resolving to other versions."""

    moves: Annotated[int, Field(ge=0, le=MAX_MOVES)] | None = Field(
        default=None,
        description=(
            "The number of rollouts caused by the registry that can end within the window before "
            f"the next one waits. 0 means no limit. Defaults to {MAX_MOVES}."
        ),
    )
    window: Annotated[Duration, _SHORT] | None = Field(
        default=None, description=f"How long the window is. Defaults to {DEFAULT_WINDOW}."
    )

    @property
    def limit(self) -> int:
        """How many rollouts may end within the window; 0 for any number."""
        return MAX_MOVES if self.moves is None else self.moves

    @property
    def window_text(self) -> str:
        """The window as a duration."""
        return self.window or DEFAULT_WINDOW


class RegistryWrites(KubeModel):
    """What the operator writes to the registry."""

    write_back: bool = Field(
        default=False,
        description=(
            "Write a tag on each model version that was rolled out here: the verdict, since when, "
            "and why it was rolled back. Requires the chart value policy.writableModels."
        ),
    )


class OnSuccess(KubeModel):
    """What happens after a version has taken over."""

    set_alias: Alias | None = Field(
        default=None,
        description=(
            "An alias to set, once, on a version that has taken over from another, like champion "
            "for a model URI that follows challenger. Requires the chart value "
            "policy.writableModels."
        ),
    )
