"""Parts of `spec` about who gets which revision: requests that match, and users that stay."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.schema import (
    ATOMIC,
    KubeModel,
    Rule,
    Schema,
    map_by,
    matches,
    pattern,
)
from mlflow_model_operator.api.values import Duration, LabelName, ModelUriText

MAX_MATCHES = 8

# As the Gateway API allows them.
HeaderName = Annotated[
    str,
    Field(max_length=128),
    Schema(
        pattern(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "write the header's name alone, like x-tester"),
        Rule(
            "!(self.lowerAscii() in ['host', 'cookie'])",
            "write routing.hostnames for host names, and cookie for cookies",
        ),
    ),
]
HeaderValue = Annotated[
    str,
    Field(max_length=256),
    Schema(
        pattern(
            r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?",
            "write the exact value, in ASCII and without spaces around it, like true",
        )
    ),
]
CookieName = Annotated[
    str,
    Field(max_length=64),
    Schema(
        pattern(r"[A-Za-z0-9_.-]+", "write letters, digits, '_', '-' and '.', like wine-revision")
    ),
]
CookieValue = Annotated[
    str,
    Field(max_length=256),
    Schema(
        pattern(
            r"[!#-+.-:<-\[\]-~-]+",
            "write the exact value, in ASCII and without spaces, quotes, commas, semicolons and "
            "backslashes, like true",
        )
    ),
]
_UNPREFIXED = Schema(
    Rule(
        "!self.startsWith('__')",
        "browsers keep cookies like __Host-x only with other attributes: write a name without '__' "
        "in front",
    )
)
MAX_AGE = Schema(
    Rule(
        f"!{matches(quantity.DURATION)} || "
        "(duration(self) >= duration('1s') && duration(self) <= duration('8760h'))",
        "write a time from 1s to 8760h, like 24h",
    )
)


class HeaderMatch(KubeModel):
    """A header that a request has."""

    name: HeaderName = Field(description="The header's name; upper and lower case are the same.")
    value: HeaderValue = Field(description="The header's exact value.")


class CookieMatch(KubeModel):
    """A cookie that a request has."""

    name: CookieName = Field(description="The cookie's name.")
    value: CookieValue = Field(description="The cookie's exact value.")


class RequestMatch(KubeModel):
    """A header or a cookie by which requests are recognized."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.header) != has(self.cookie)",
            "a match is a header or a cookie: write one of the two, like {header: {name: "
            'x-tester, value: "true"}}',
        ),
    )

    header: HeaderMatch | None = Field(default=None, description="A header of the request.")
    cookie: CookieMatch | None = Field(default=None, description="A cookie of the request.")


Matches = Annotated[list[RequestMatch], Field(max_length=MAX_MATCHES), ATOMIC]


MAX_VARIANTS = 4  # an HTTPRoute has at most 16 rules


class Variant(KubeModel):
    """One of several versions that receive a share of the requests."""

    name: LabelName = Field(description="A name for the variant.")
    uri: ModelUriText = Field(description="Its model URI, written as in model.uri.")
    weight: Annotated[int, Field(ge=0, le=100)] = Field(
        description="Its share of the requests, in percent; the stable version has the rest."
    )
    match: Matches = Field(
        default_factory=list,
        description=(
            "Requests that match any of these always go to the variant while it is ready, whatever "
            "its weight; of several variants, to the first."
        ),
    )


Variants = Annotated[
    list[Variant],
    Field(max_length=MAX_VARIANTS),
    map_by("name"),
    Schema(
        Rule(
            "self.map(variant, variant.weight).sum() <= 100",
            "the weights are more than 100 % together: lower them; the stable version has what is "
            "left",
        )
    ),
]


class Sticky(KubeModel):
    """Users that stay with the revision that answered them first, by a cookie."""

    cookie: Annotated[CookieName, _UNPREFIXED] = Field(
        default="model-revision",
        description="The cookie's name; its value is the name of the revision.",
    )
    max_age: Annotated[Duration, MAX_AGE] = Field(
        default="24h",
        description=(
            "How long a user stays with a revision, from 1s to 8760h; after that, the weights "
            "apply again."
        ),
    )

    @property
    def seconds(self) -> int:
        """maxAge in whole seconds."""
        return max(1, round(quantity.seconds(self.max_age)))
