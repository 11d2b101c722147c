"""What the administrator allows, and a resource allows itself. Pure.

Each check returns a sentence that names the field, the rule and what to write instead, or None.
`{namespace}` in a pattern stands for the resource's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from urllib.parse import unquote, urlsplit

from mlflow_model_operator.api import uri as model_uri
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.uri import LoggedModel, ModelUri, RunModel, StorageModel
from mlflow_model_operator.settings import PolicySettings, Settings

ANY = "*"


class Policy:
    """The rules of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._own_server = settings.tracking_uri
        self._rules = settings.policy

    def tracking_uri_denial(self, resource: MLflowModelDeployment) -> str | None:
        """Why the resource may not use the tracking server that it names."""
        uri = resource.spec.model.tracking_uri
        if uri is None:
            return None
        allowed = self._tracking_uris(resource.namespace)
        if not allowed or any(is_same_server(uri, pattern) for pattern in allowed):
            return None
        leave_out = "leave it out, or use" if self._own_server else "use"
        return (
            f"spec.model.trackingUri: {uri} is not allowed in namespace {resource.namespace}: "
            f"{leave_out} {_listed(allowed)} (chart value policy.trackingUris)"
        )

    def excess_denial(self, resource: MLflowModelDeployment) -> str:
        """Why the namespace of the resource may not use one more tracking server."""
        return (
            f"spec.model.trackingUri: namespace {resource.namespace} uses "
            f"{self._rules.max_tracking_servers} other tracking servers already: use one that "
            "an older resource uses (chart value policy.maxTrackingServers)"
        )

    def prometheus_denial(self, resource: MLflowModelDeployment) -> str | None:
        """Why the analysis of the resource may not ask a Prometheus that it names."""
        analysis = resource.spec.rollout.analysis
        allowed = [_for(resource.namespace, rule) for rule in self._rules.prometheus_urls]
        for query in analysis.queries if analysis else ():
            if not any(is_same_server(query.url, pattern) for pattern in allowed):
                instead = f"use {', '.join(allowed)}" if allowed else "leave the query out"
                return (
                    f"spec.rollout.analysis.queries: {query.url} is not allowed in namespace "
                    f"{resource.namespace}: {instead} (chart value policy.prometheusUrls)"
                )
        return None

    def source_denial(self, resource: MLflowModelDeployment, uri: str, field: str) -> str | None:
        """Why the resource may not serve the model at `uri`, which is the value of `field`."""
        try:
            parsed = model_uri.parse(uri)
        except model_uri.InvalidModelUri:
            return None  # which resolving reports, with what to write
        for allowed, rule in self._sources(resource):
            if not any(is_source(parsed, pattern) for pattern in allowed):
                return (
                    f"{field}: {uri} is not allowed in namespace {resource.namespace}: use "
                    f"{', '.join(allowed)} ({rule})"
                )
        return None

    def write_denial(self, resource: MLflowModelDeployment) -> str | None:
        """Why the operator may not write into the registry for the resource."""
        uri = resource.spec.model.tracking_uri
        own = (self._own_server or "").rstrip("/")
        if not own or (uri is not None and uri.rstrip("/") != own):
            return (
                "spec.rollout: the operator writes only to its own tracking server, whose "
                "credentials it has: leave out spec.model.trackingUri (chart value trackingUri)"
            )
        try:
            parsed = model_uri.parse(resource.spec.model.uri)
        except model_uri.InvalidModelUri:
            return None  # which resolving reports
        name = getattr(parsed, "name", None)
        if name is not None and self.is_writable(resource.namespace, name):
            return None
        return (
            f"spec.rollout: the operator may not write to {resource.spec.model.uri} in the "
            f"registry for namespace {resource.namespace}: leave out rollout.registry.writeBack "
            "and rollout.onSuccess, or allow the registered model (chart value "
            "policy.writableModels)"
        )

    def is_writable(self, namespace: str, model: str) -> bool:
        """Whether the operator may write to a registered model for resources of a namespace."""
        rules = self._rules.writable_models
        return any(fnmatchcase(model, _for(namespace, rule)) for rule in rules)

    def files_denial(self, resource: MLflowModelDeployment) -> str | None:
        """Why no model of the resource can have files that are allowed."""
        formats = allowed_formats(resource, self._rules)
        has_rules = formats is not None or required_signatures(resource, self._rules)
        if has_rules and resource.spec.server.image is not None:
            return (
                "spec.server.image: only the scoring image checks the formats and "
                "signatures of models, which the administrator restricts: leave it out "
                "(chart values policy.formats and policy.signatures)"
            )
        if formats == ():
            return (
                "spec.policy.formats: none of these is allowed: use "
                f"{', '.join(self._rules.formats)} (chart value policy.formats)"
            )
        return None

    def hostname_denials(
        self, resource: MLflowModelDeployment, served: Iterable[str]
    ) -> dict[str, str]:
        """The host names that the resource may not have, "" for all of them, each with the reason.

        Those that its route has already, `served`, it keeps: a stricter rule interrupts nothing.
        """
        allowed = self._hostnames(resource.namespace)
        if allowed is None or resource.spec.routing.gateway is None:
            return {}
        names = set(resource.spec.routing.hostnames or [""]) - set(served)
        return {
            name: _hostname_denial(name, resource.namespace, allowed)
            for name in sorted(names)
            if not any(is_covered(name, pattern) for pattern in allowed)
        }

    def _tracking_uris(self, namespace: str) -> list[str]:
        """The allowed ones; none where all are."""
        rules = self._rules.tracking_uris
        if ANY in rules or not (rules or self._own_server):
            return []
        own = [self._own_server] if self._own_server else []
        return own + [_for(namespace, rule) for rule in rules]

    def _sources(self, resource: MLflowModelDeployment) -> list[tuple[list[str], str]]:
        """The patterns, each list of which must have one that matches, and where each stands."""
        rules = {
            "chart value policy.sources": [
                _for(resource.namespace, pattern) for pattern in self._rules.sources
            ],
            "spec.policy.sources": resource.spec.policy.sources or [],
        }
        return [(patterns, name) for name, patterns in rules.items() if patterns]

    def _hostnames(self, namespace: str) -> list[str] | None:
        """The allowed ones; None where all are."""
        everywhere, by_namespace = self._rules.hostnames, self._rules.hostnames_by_namespace
        if not everywhere and not by_namespace:
            return None
        here = [_for(namespace, rule) for rule in everywhere]
        return here + list(by_namespace.get(namespace, ()))


def allowed_formats(
    resource: MLflowModelDeployment, rules: PolicySettings
) -> tuple[str, ...] | None:
    """The formats that a model of the resource may have; None where all are allowed."""
    own = resource.spec.policy.formats
    if not rules.formats:
        return tuple(own) if own else None
    return tuple(name for name in rules.formats if own is None or name in own)


def required_signatures(
    resource: MLflowModelDeployment, rules: PolicySettings
) -> list[dict[str, list[str]]]:
    """Whose signatures a model must have: one of each entry."""
    entries = [
        {
            "publicKeys": list(rules.public_keys),
            "certificateAuthorities": list(rules.certificate_authorities),
        }
    ]
    own = resource.spec.policy.signatures
    if own is not None:
        entries.append(
            {
                "publicKeys": own.public_keys or [],
                "certificateAuthorities": own.certificate_authorities or [],
            }
        )
    return [entry for entry in entries if any(entry.values())]


def is_source(uri: ModelUri, pattern: str) -> bool:
    """Whether a model URI is one of those that the pattern of a source stands for."""
    match uri:
        case StorageModel():
            return _is_below(uri.path or uri.uri, _without_file_scheme(pattern))
        case RunModel():
            return _is_below(f"runs:/{uri.run_id}/{uri.path}", pattern)
        case LoggedModel():
            return _is_named(uri.model_id, pattern)
        case _:
            return _is_named(uri.name, pattern)


def _is_named(name: str, pattern: str) -> bool:
    scheme, _, names = pattern.partition(":")
    names = names.removeprefix("/")
    return scheme == "models" and (not names or fnmatchcase(name, names))


def _is_below(uri: str, prefix: str) -> bool:
    """Whether a URI is the prefix, or goes on after a slash of it: s3://models is not s3://models2.

    One that climbs may lead anywhere, so no prefix but its scheme stands for it.
    """
    if prefix.endswith(":"):
        return uri.startswith(prefix) or (prefix == "file:" and uri.startswith("/"))
    if _climbs(uri):
        return False
    return uri == prefix or uri.startswith(prefix if prefix.endswith("/") else f"{prefix}/")


def _climbs(uri: str) -> bool:
    decoded = unquote(unquote(uri)).replace("\\", "/")
    return any(part in (".", "..") for part in decoded.split("/"))


def _without_file_scheme(pattern: str) -> str:
    return re.sub(r"^file:(//)?(?=/)", "", pattern)


def is_same_server(uri: str, pattern: str) -> bool:
    """Whether a tracking URI is the one of the pattern, whose host name may have wildcards.

    Part by part: a `*` for a part of the host name must not reach into the port or the path.
    """
    try:
        left, right = urlsplit(uri), urlsplit(pattern)
        same = (left.scheme, left.port, left.path.rstrip("/")) == (
            right.scheme,
            right.port,
            right.path.rstrip("/"),
        )
    except ValueError:
        return False
    return same and fnmatchcase(left.hostname or "", right.hostname or "")


def is_covered(hostname: str, pattern: str) -> bool:
    """Whether a host name is the pattern, or below one that starts with "*."."""
    if pattern.startswith("*."):
        return hostname == pattern or hostname.endswith(pattern[1:])
    return hostname == pattern


def _hostname_denial(name: str, namespace: str, allowed: list[str]) -> str:
    if not name:
        return (
            "spec.routing.hostnames: a route without host names gets the requests for all host "
            f"names of the Gateway: use {_listed(allowed)} (chart value hostnames)"
        )
    return (
        f"spec.routing.hostnames: {name} is not allowed in namespace {namespace}: use "
        f"{_listed(allowed)} (chart value hostnames)"
    )


def _listed(allowed: list[str]) -> str:
    return ", ".join(allowed) if allowed else "no gateway, since none is"


def _for(namespace: str, rule: str) -> str:
    return rule.replace("{namespace}", namespace)
