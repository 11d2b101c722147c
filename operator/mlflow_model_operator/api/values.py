"""The types of single values in the resource, with their rules."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from mlflow_model_operator.api import quantity, uri
from mlflow_model_operator.api.schema import Rule, Schema, matches, pattern

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_NAME = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
_LABEL_VALUE = r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
_QUALIFIED_NAME = rf"({_DNS_NAME}/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_IMAGE = (
    r"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?/)?"
    r"[a-z0-9]+([._/-]+[a-z0-9]+)*"
    r"(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?"
    r"(@[a-z0-9]+:[0-9a-f]{32,128})?"
)


def _read_duration(text: str) -> str:
    quantity.seconds(text)
    return text


ModelUriText = Annotated[
    str,
    Field(max_length=2048),
    Schema(
        pattern(uri.SCHEME_PATTERN, uri.SCHEME_HELP),
        Rule(
            f"!self.startsWith('models:') || {matches(uri.MODELS_PATTERN)}",
            uri.MODELS_HELP,
        ),
        Rule(f"!self.startsWith('runs:') || {matches(uri.RUNS_PATTERN)}", uri.RUNS_HELP),
        Rule(
            f"!{matches(uri.SCHEME_PATTERN)}"
            " || self.startsWith('models:') || self.startsWith('runs:')"
            f" || {matches(uri.STORAGE_PATTERN)}",
            uri.STORAGE_HELP,
        ),
        Rule(f"!{matches(uri.PASSWORD_PATTERN)}", uri.PASSWORD_HELP),
    ),
]

# Also a user alone: tokens are written in its place.
_NO_CREDENTIALS = Rule(r"!self.matches('^https?://[^/?#]*@')", uri.PASSWORD_HELP)

TrackingUri = Annotated[
    str,
    Field(max_length=2048),
    Schema(
        pattern(
            r"https?://[^\x00-\x20/?#]+(/[^\x00-\x20?#]*)?",
            "write an http:// or https:// URL with a host and without query and fragment, like "
            "http://mlflow.mlflow:5000",
        ),
        _NO_CREDENTIALS,
    ),
]

PrometheusUrl = Annotated[
    str,
    Field(max_length=2048),
    Schema(
        pattern(
            r"https?://[^\x00-\x20/?#]+(/[^\x00-\x20?#]*)?",
            "write an http:// or https:// URL with a host and without query and fragment, like "
            "http://prometheus.monitoring:9090",
        ),
        Rule(
            r"!self.matches('^https?://[^/?#]*@')",
            "requests to Prometheus are anonymous: leave out user and password",
        ),
    ),
]

IndexUrl = Annotated[
    str,
    Field(max_length=2048),
    Schema(
        pattern(
            r"https?://[^\x00-\x20/?#]+([/?][^\x00-\x20]*)?",
            "write an http:// or https:// URL with a host, like https://pypi.example.com/simple",
        ),
        _NO_CREDENTIALS,
    ),
]

FindLinks = Annotated[
    str,
    Field(max_length=2048),
    Schema(
        pattern(
            r"(https?://|/)[^\x00-\x20]*",
            "write an http:// or https:// URL, or an absolute path on a mounted volume, like "
            "/mnt/wheels",
        ),
        _NO_CREDENTIALS,
    ),
]

JwksUrl = Annotated[
    str,
    Field(max_length=2048),
    Schema(
        pattern(
            r"https://[^\x00-\x20/?#]+([/?][^\x00-\x20]*)?",
            "write the https:// URL of the issuer's key set, like "
            "https://issuer.example.com/.well-known/jwks.json: anyone who can "
            "change the keys in transit can forge tokens",
        ),
        _NO_CREDENTIALS,
    ),
]

PublicKey = Annotated[
    str,
    Field(max_length=4096),
    Schema(
        pattern(
            r"(?s:-----BEGIN PUBLIC KEY-----\n.*-----END PUBLIC KEY-----\s*)",
            "write a public key as PEM, from -----BEGIN PUBLIC KEY----- to "
            "-----END PUBLIC KEY-----",
        )
    ),
]

Certificate = Annotated[
    str,
    Field(max_length=16_384),
    Schema(
        pattern(
            r"(?s:-----BEGIN CERTIFICATE-----\n.*-----END CERTIFICATE-----\s*)",
            "write a certificate as PEM, from -----BEGIN CERTIFICATE----- to "
            "-----END CERTIFICATE-----",
        )
    ),
]

_NAMED_MODELS = r"models:(/[^/:@\x00-\x1f]*)?"
SourcePattern = Annotated[
    str,
    Field(max_length=1024),
    Schema(
        pattern(
            r"models:.*|[a-z][a-z0-9-]*:[^\x00-\x20?#]*|/[^\x00-\x20?#]*",
            "write models:/<name>, where the name can have wildcards, a scheme like "
            "runs:, or the beginning of a URI up to a slash, like "
            "s3://models/team-a/ or /mnt/models/",
        ),
        Rule(
            f"!self.startsWith('models:') || {matches(_NAMED_MODELS)}",
            "write models:/<name> without a version or an alias, where the name can "
            "have wildcards, like models:/team-a-*",
        ),
    ),
]

Claim = Annotated[
    str,
    Field(max_length=1024),
    Schema(
        pattern(r"[^\x00-\x20\x7f]+", "write the value exactly as in the tokens, without spaces")
    ),
]

Duration = Annotated[
    str,
    Field(max_length=24),
    AfterValidator(_read_duration),
    Schema(pattern(quantity.DURATION, f"not a duration: {quantity.DURATION_HELP}")),
]

Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 64,
        }
    ),
    Schema(
        Rule(
            "isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('0'))",
            f"not a quantity of at least 0: {quantity.QUANTITY_HELP}",
        )
    ),
]

# The name of another object, as the API server allows it.
ObjectName = Annotated[
    str,
    Field(max_length=253),
    Schema(
        pattern(
            _DNS_NAME,
            "write the object's name: lower-case letters, digits, '-' and '.', starting and "
            "ending with a letter or digit",
        )
    ),
]
LabelName = Annotated[
    str,
    Field(max_length=63),
    Schema(
        pattern(
            _DNS_LABEL,
            "write lower-case letters, digits and '-', starting and ending with a letter or digit",
        )
    ),
]
ConfigKey = Annotated[
    str,
    Field(max_length=253),
    Schema(pattern(r"[-._a-zA-Z0-9]+", "write letters, digits, '-', '_' and '.'")),
]
Hostname = Annotated[
    str,
    Field(max_length=253),
    Schema(
        pattern(
            rf"(\*\.)?{_DNS_NAME}",
            "write a host name without scheme, port and path, in lower case, like "
            "wine.models.example.com or *.models.example.com",
        ),
        Rule(
            r"!self.matches('^[0-9]+(\\.[0-9]+){3}$')",
            "a Gateway listens on host names, not on IP addresses: write a host name, like "
            "wine.models.example.com, or leave hostnames out",
        ),
    ),
]
ImageName = Annotated[
    str,
    Field(max_length=1024),
    Schema(
        pattern(
            _IMAGE,
            "write an image as registry/name:tag or registry/name@sha256:<digest>, with the name "
            "in lower case, like registry.example.com/team/wine:1.0",
        )
    ),
]
EnvName = Annotated[
    str,
    Field(max_length=253),
    Schema(
        pattern(
            r"[-._a-zA-Z][-._a-zA-Z0-9]*",
            "write letters, digits, '_', '-' and '.', not starting with a digit",
        )
    ),
]
ExtendedResource = Annotated[
    str,
    Field(max_length=253),
    Schema(
        pattern(
            rf"{_DNS_NAME}\.[a-z]+/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?",
            "write the resource that the device plugin advertises, like nvidia.com/gpu, "
            "nvidia.com/mig-1g.10gb or amd.com/gpu",
        ),
        Rule(
            r"!self.matches('(^|\\.)kubernetes\\.io/')",
            "kubernetes.io/ is not the domain of a device plugin: write the resource that the "
            "device plugin advertises, like nvidia.com/gpu",
        ),
    ),
]
AbsolutePath = Annotated[
    str,
    Field(max_length=1024),
    Schema(
        pattern(
            r"/[^\x00-\x20:]*",
            "write an absolute path without ':' and spaces, like /mnt/models",
        )
    ),
]
RoutePath = Annotated[
    str,
    Field(max_length=1024),
    Schema(
        pattern(
            # The pattern of HTTPRoute's own paths.
            r"/([-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*",
            'write a path that starts with "/" and has only letters, digits, %XX and '
            "-._~!$&'()*+,;=:@/, like / or /wine",
        ),
        Rule(
            r"""!self.matches('//|/\\.{1,2}(/|$)|%2[fF]')""",
            "write a plain path, without empty, '.' or '..' parts and without %2F, like /wine",
        ),
    ),
]

_KEY_HELP = "write keys like app or example.com/team"
LabelMap = Annotated[
    dict[str, Annotated[str, Field(max_length=63)]],
    Field(max_length=64),
    Schema(
        Rule(
            f"self.all(key, size(key) <= 317 && {matches(_QUALIFIED_NAME, 'key')})",
            f"a key is not a label key: {_KEY_HELP}",
        ),
        Rule(
            f"self.all(key, {matches(_LABEL_VALUE, 'self[key]')})",
            "a value is not a label value: write at most 63 letters, digits, '-', '_' and '.', "
            "starting and ending with a letter or digit",
        ),
    ),
]
AnnotationMap = Annotated[
    dict[str, Annotated[str, Field(max_length=65_536)]],
    Field(max_length=64),
    Schema(
        Rule(
            f"self.all(key, size(key) <= 317 && {matches(_QUALIFIED_NAME, 'key')})",
            f"a key is not an annotation key: {_KEY_HELP}",
        )
    ),
]

# A part in the schema of the Kubernetes API, passed on unchanged: its fields depend on the version
# of the cluster, and a condition says what the cluster refuses.
Native = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
]
