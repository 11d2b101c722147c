"""What the administrator allows, and the sentences for what is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_model_operator.api import uri as model_uri
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.policy import (
    Policy,
    allowed_formats,
    is_covered,
    is_same_server,
    is_source,
    required_signatures,
)
from mlflow_model_operator.settings import PolicySettings, Settings

OWN = "http://mlflow.mlflow:5000"


def policy(tracking_uri: str | None = OWN, **rules: Any) -> Policy:
    return Policy(Settings(tracking_uri=tracking_uri, policy=PolicySettings(**rules)))


def resource(tracking_uri: str | None = None, **routing: Any) -> MLflowModelDeployment:
    model = {"uri": "models:/wine/1", **({"trackingUri": tracking_uri} if tracking_uri else {})}
    spec = {"model": model, "routing": {"gateway": {"name": "shared"}, **routing}}
    metadata = {"name": "wine", "namespace": "team-a", "uid": "u", "generation": 1}
    return MLflowModelDeployment.parse({"metadata": metadata, "spec": spec})


@pytest.mark.parametrize(
    ("own", "allowed", "uri", "is_allowed"),
    [
        (OWN, (), None, True),
        (OWN, (), OWN, True),
        (OWN, (), f"{OWN}/", True),
        (OWN, (), "http://evil:5000", False),
        (OWN, ("http://other:5000",), "http://other:5000", True),
        (OWN, ("http://other:5000",), OWN, True),
        (OWN, ("*",), "http://evil:5000", True),
        (OWN, ("http://mlflow.{namespace}:5000",), "http://mlflow.team-a:5000", True),
        (OWN, ("http://mlflow.{namespace}:5000",), "http://mlflow.team-b:5000", False),
        # An installation without a server of its own: each resource names one.
        (None, (), "http://any:5000", True),
        (None, ("http://other:5000",), "http://any:5000", False),
    ],
)
def test_which_tracking_servers_may_be_named(
    own: str | None, allowed: tuple[str, ...], uri: str | None, is_allowed: bool
) -> None:
    denial = policy(own, tracking_uris=allowed).tracking_uri_denial(resource(uri))
    assert (denial is None) == is_allowed


def test_a_denial_names_field_rule_and_alternatives() -> None:
    rules = policy(tracking_uris=("http://mlflow.{namespace}:5000",))
    assert rules.tracking_uri_denial(resource("http://evil:5000")) == (
        "spec.model.trackingUri: http://evil:5000 is not allowed in namespace team-a: leave it "
        f"out, or use {OWN}, http://mlflow.team-a:5000 (chart value policy.trackingUris)"
    )


@pytest.mark.parametrize(
    ("uri", "pattern", "is_same"),
    [
        ("http://mlflow.team-a:5000", "http://mlflow.*:5000", True),
        ("http://mlflow.team-a:5000/", "http://mlflow.*:5000", True),
        ("HTTP://MLFLOW.team-a:5000", "http://mlflow.*:5000", True),
        # A wildcard stays within the host name.
        ("http://mlflow.evil/x:5000", "http://mlflow.*:5000", False),
        ("http://mlflow.evil:80/:5000", "http://mlflow.*:5000", False),
        ("http://mlflow.team-a:5000/admin", "http://mlflow.*:5000", False),
        ("https://mlflow.team-a:5000", "http://mlflow.*:5000", False),
        ("http://mlflow.team-a:5001", "http://mlflow.*:5000", False),
        ("http://evil:5000", "http://mlflow.*:5000", False),
        ("http://[::1]:5000", "http://[::1]:5000", True),
        ("http://mlflow:none", "http://mlflow:5000", False),
        ("http://[broken", "http://mlflow:5000", False),
    ],
)
def test_a_pattern_matches_servers_part_by_part(uri: str, pattern: str, is_same: bool) -> None:
    assert is_same_server(uri, pattern) == is_same


@given(st.text(max_size=60))
def test_no_uri_is_an_error(text: str) -> None:
    assert is_same_server(text, OWN) in (True, False)


@pytest.mark.parametrize(
    ("uri", "pattern", "is_allowed"),
    [
        ("models:/team-a-wine@champion", "models:/team-a-*", True),
        ("models:/team-a-wine/3", "models:/team-a-*", True),
        ("models:/team-a-wine/latest", "models:/team-a-wine", True),
        ("models:/team-b-wine@champion", "models:/team-a-*", False),
        ("models:/wine/3", "models:", True),
        ("models:/wine/3", "models:/", True),
        ("models:/wine/3", "runs:", False),
        # A logged model has no name, only its id.
        ("models:/m-0123", "models:/team-a-*", False),
        ("models:/m-0123", "models:/m-*", True),
        ("models:/m-0123", "models:", True),
        ("runs:/0a1b/model", "runs:", True),
        ("runs:/0a1b/model", "runs:/0a1b/", True),
        ("runs:/0a1b/model", "models:", False),
        ("s3://models/team-a/wine", "s3://models/team-a/", True),
        ("s3://models/team-a/wine", "s3://models/team-a", True),
        ("s3://models/team-a", "s3://models/team-a", True),
        ("s3://models/team-a", "s3:", True),
        ("s3://models/team-ab/wine", "s3://models/team-a", False),
        ("s3://models2/wine", "s3://models", False),
        ("gs://models/wine", "s3:", False),
        ("https://models.example.com.evil/wine", "https://models.example.com", False),
        # What climbs may lead anywhere.
        ("s3://models/team-a/../team-b/wine", "s3://models/team-a/", False),
        ("https://example.com/a/%2e%2e/b", "https://example.com/a/", False),
        ("https://example.com/a/%252e%252e/b", "https://example.com/a/", False),
        ("/mnt/models/../secret", "/mnt/models/", False),
        ("/mnt/models/wine", "/mnt/models/", True),
        ("file:///mnt/models/wine", "/mnt/models/", True),
        ("file:/mnt/models/wine", "file:///mnt/models/", True),
        ("/mnt/models/wine", "file:", True),
        ("/mnt/models/wine", "s3:", False),
    ],
)
def test_where_models_may_come_from(uri: str, pattern: str, is_allowed: bool) -> None:
    assert is_source(model_uri.parse(uri), pattern) == is_allowed


def served(uri: str, **spec: Any) -> MLflowModelDeployment:
    metadata = {"name": "wine", "namespace": "team-a", "uid": "u", "generation": 1}
    return MLflowModelDeployment.parse(
        {"metadata": metadata, "spec": {"model": {"uri": uri}, **spec}}
    )


@pytest.mark.parametrize(
    ("chart", "own", "uri", "says"),
    [
        ((), None, "s3://anything/wine", None),
        (("models:/{namespace}-*",), None, "models:/team-a-wine/1", None),
        (
            ("models:/{namespace}-*", "s3://models/"),
            None,
            "models:/team-b-wine/1",
            "use models:/team-a-*, s3://models/ (chart value policy.sources)",
        ),
        ((), ["runs:"], "models:/wine/1", "use runs: (spec.policy.sources)"),
        # The resource narrows what the administrator allows, and cannot widen it.
        (("models:",), ["models:/wine"], "models:/tea/1", "(spec.policy.sources)"),
        (("models:/wine",), ["models:"], "models:/tea/1", "(chart value policy.sources)"),
        (("models:/wine",), ["models:"], "models:/wine/1", None),
    ],
)
def test_a_source_has_to_be_allowed_by_both(
    chart: tuple[str, ...], own: list[str] | None, uri: str, says: str | None
) -> None:
    given_resource = served(uri, policy={"sources": own} if own else {})
    denial = policy(sources=chart).source_denial(given_resource, uri, "spec.model.uri")
    assert (denial is None) == (says is None)
    if says is not None:
        assert denial is not None
        start = f"spec.model.uri: {uri} is not allowed in namespace team-a: "
        assert denial.startswith(start)
        assert denial.endswith(says)


@pytest.mark.parametrize(
    ("chart", "own", "expected"),
    [
        ((), None, None),
        (("onnx", "skops"), None, ("onnx", "skops")),
        ((), ["onnx"], ("onnx",)),
        (("onnx", "skops"), ["skops", "pickle"], ("skops",)),
        (("onnx",), ["pickle"], ()),
    ],
)
def test_a_format_has_to_be_allowed_by_both(
    chart: tuple[str, ...], own: list[str] | None, expected: tuple[str, ...] | None
) -> None:
    given_resource = served("models:/wine/1", policy={"formats": own} if own else {})
    assert allowed_formats(given_resource, PolicySettings(formats=chart)) == expected


def test_formats_that_nobody_can_check_are_denied() -> None:
    rules = policy(formats=("onnx", "skops"))
    assert rules.files_denial(served("models:/wine/1")) is None
    custom = rules.files_denial(served("models:/wine/1", server={"image": "wine:1"}))
    assert custom is not None
    assert custom.startswith("spec.server.image: only the scoring image checks the formats")
    signed = policy(public_keys=(KEY,))
    assert signed.files_denial(served("models:/wine/1")) is None
    assert signed.files_denial(served("models:/wine/1", server={"image": "wine:1"})) == custom
    none_left = rules.files_denial(served("models:/wine/1", policy={"formats": ["pickle"]}))
    assert none_left == (
        "spec.policy.formats: none of these is allowed: use onnx, skops "
        "(chart value policy.formats)"
    )
    assert policy().files_denial(served("models:/wine/1", server={"image": "wine:1"})) is None


KEY = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"
OTHER_KEY = KEY.replace("MFkw", "MFlx")
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def test_a_signature_is_required_by_each_who_asks_for_one() -> None:
    plain = served("models:/wine/1")
    own = served("models:/wine/1", policy={"signatures": {"publicKeys": [OTHER_KEY]}})
    rules = PolicySettings(public_keys=(KEY,), certificate_authorities=(AUTHORITY,))
    by_chart = {"publicKeys": [KEY], "certificateAuthorities": [AUTHORITY]}
    by_resource = {"publicKeys": [OTHER_KEY], "certificateAuthorities": []}
    assert required_signatures(plain, PolicySettings()) == []
    assert required_signatures(plain, rules) == [by_chart]
    assert required_signatures(own, PolicySettings()) == [by_resource]
    assert required_signatures(own, rules) == [by_chart, by_resource]


ALLOWED: dict[str, Any] = {
    "hostnames": ("*.{namespace}.models.example.com",),
    "hostnames_by_namespace": {"team-a": ("bank.example.com",), "team-b": ("tea.example.com",)},
}


@pytest.mark.parametrize(
    ("hostnames", "served", "denied"),
    [
        (["wine.team-a.models.example.com", "bank.example.com"], [], []),
        (["*.team-a.models.example.com"], [], []),
        (["a.b.team-a.models.example.com"], [], []),
        (["wine.team-b.models.example.com"], [], ["wine.team-b.models.example.com"]),
        (["tea.example.com", "bank.example.com"], [], ["tea.example.com"]),
        (["xteam-a.models.example.com"], [], ["xteam-a.models.example.com"]),
        ([], [], [""]),
        # What a route has already, it keeps.
        (["tea.example.com"], ["tea.example.com"], []),
        ([], [""], []),
        (["tea.example.com"], [""], ["tea.example.com"]),
    ],
)
def test_which_host_names_a_namespace_may_use(
    hostnames: list[str], served: list[str], denied: list[str]
) -> None:
    denials = policy(**ALLOWED).hostname_denials(resource(hostnames=hostnames), served)
    assert list(denials) == denied
    for name, message in denials.items():
        assert message.startswith("spec.routing.hostnames: ")
        assert name in message
        assert "use *.team-a.models.example.com, bank.example.com" in message


def test_without_rules_all_host_names_are_allowed() -> None:
    assert policy().hostname_denials(resource(hostnames=["any.example.com"]), []) == {}
    assert policy().hostname_denials(resource(), []) == {}


def test_a_namespace_without_any_host_name_has_to_leave_the_gateway_out() -> None:
    rules = policy(hostnames_by_namespace={"team-b": ("tea.example.com",)})
    (message,) = rules.hostname_denials(resource(hostnames=["a.example.com"]), []).values()
    assert "use no gateway, since none is" in message


@given(st.from_regex(r"[a-z]{1,5}(\.[a-z]{1,5}){0,3}", fullmatch=True))
def test_what_is_below_a_wildcard_is_covered_and_the_domain_itself_is_not(name: str) -> None:
    assert is_covered(f"{name}.example.com", "*.example.com")
    assert not is_covered(f"{name}example.com", "*.example.com")
    assert not is_covered("example.com", "*.example.com")
    assert is_covered(name, name)


@pytest.mark.parametrize(
    ("own", "writable", "uri", "is_allowed"),
    [
        (OWN, (), None, False),
        (OWN, ("wine",), None, True),
        (OWN, ("w*",), f"{OWN}/", True),
        (OWN, ("{namespace}-*",), None, False),
        (OWN, ("*",), "http://other:5000", False),
        (None, ("*",), None, False),
    ],
)
def test_the_registry_is_written_to_where_that_is_allowed(
    own: str | None, writable: tuple[str, ...], uri: str | None, is_allowed: bool
) -> None:
    denial = policy(own, writable_models=writable).write_denial(resource(uri))

    assert (denial is None) == is_allowed
    assert denial is None or "leave" in denial


def test_models_that_may_be_written_to_are_those_of_the_namespace() -> None:
    rules = policy(writable_models=("{namespace}-*",))

    assert rules.is_writable("team-a", "team-a-wine")
    assert not rules.is_writable("team-a", "team-b-wine")
