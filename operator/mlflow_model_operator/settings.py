"""The operator's own settings, from environment variables (set by the chart's values)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from mlflow_model_operator import __version__

LOG_LEVELS = ("info", "debug", "warning", "error")  # the default first
LOG_FORMATS = ("text", "json")


class SettingsError(ValueError):
    """An environment variable that cannot be used; the message says what to write instead."""


@dataclass(frozen=True)
class PolicySettings:
    """What resources may use; an empty list allows all, if nothing else is said. See policy.py."""

    tracking_uris: tuple[str, ...] = ()  # beside Settings.tracking_uri
    max_tracking_servers: int = 5  # of one namespace, beside Settings.tracking_uri
    hostnames: tuple[str, ...] = ()
    hostnames_by_namespace: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    writable_models: tuple[str, ...] = ()  # registered models; empty: none
    public_keys: tuple[str, ...] = ()  # PEM; of those who sign models
    certificate_authorities: tuple[str, ...] = ()  # PEM
    prometheus_urls: tuple[str, ...] = ()  # that analyses may ask; unlike above: empty, none


@dataclass(frozen=True)
class WebhookSettings:
    """Where MLflow delivers the webhooks of its registry to."""

    port: int
    keys: Path  # a folder of files, each of which has a key that signs deliveries
    address: str | None = None  # host and port, for the other replicas


@dataclass(frozen=True)
class Settings:
    """The operator's settings. Durations are in seconds."""

    tracking_uri: str | None = None
    namespaces: tuple[str, ...] = ()  # empty: the whole cluster
    poll_interval: float = 15.0
    scoring_images: Mapping[str, str] = field(default_factory=dict)  # Python "3.11" → image
    default_python_version: str = "3.11"  # of models whose version is not known
    image_pull_policy: str = "IfNotPresent"
    index_url: str | None = None  # the default package index of the prepare step
    workers: int = 32
    resync_interval: float = 600.0
    drain_delay: float = 5.0  # from "no weight any more" to "the pods may end"
    max_template_updates: int = 10  # resources that get the operator's new pod template at a time
    policy: PolicySettings = PolicySettings()
    http_port: int = 8080
    webhooks: WebhookSettings | None = None
    cluster_name: str = ""  # in the tags of model versions
    max_hinted_polls: float = 10.0  # of registered models per second, which webhooks ask for
    lease_name: str | None = None  # None: no leader election
    lease_namespace: str = "default"
    identity: str = "mlflow-model-operator"
    log_level: str = "info"
    log_format: str = "text"


def from_environment(env: Mapping[str, str] = os.environ) -> Settings:
    """Reads `MLFLOW_TRACKING_URI` and the `MMO_…` variables.

    Raises SettingsError with one sentence that names the variable and a right value.
    """
    return Settings(
        tracking_uri=_tracking_uri(env),
        namespaces=_names(env.get("MMO_NAMESPACES", "")),
        poll_interval=_number(env, "MMO_POLL_INTERVAL", Settings.poll_interval, minimum=1),
        scoring_images=_images(env.get("MMO_SCORING_IMAGES", "{}")),
        default_python_version=env.get("MMO_DEFAULT_PYTHON_VERSION")
        or Settings.default_python_version,
        image_pull_policy=env.get("MMO_IMAGE_PULL_POLICY", Settings.image_pull_policy),
        index_url=env.get("MMO_INDEX_URL") or None,
        workers=int(_number(env, "MMO_WORKERS", Settings.workers, minimum=1)),
        resync_interval=_number(env, "MMO_RESYNC_INTERVAL", Settings.resync_interval, minimum=10),
        drain_delay=_number(env, "MMO_DRAIN_DELAY", Settings.drain_delay, minimum=0),
        max_template_updates=int(
            _number(env, "MMO_MAX_TEMPLATE_UPDATES", Settings.max_template_updates, minimum=1)
        ),
        policy=_policy(env.get("MMO_POLICY", "{}")),
        http_port=int(_number(env, "MMO_HTTP_PORT", Settings.http_port, minimum=1)),
        webhooks=_webhooks(env),
        cluster_name=env.get("MMO_CLUSTER_NAME", ""),
        max_hinted_polls=_number(
            env, "MMO_MAX_HINTED_POLLS", Settings.max_hinted_polls, minimum=0.1
        ),
        lease_name=env.get("MMO_LEASE_NAME") or None,
        lease_namespace=env.get("MMO_LEASE_NAMESPACE", Settings.lease_namespace),
        identity=env.get("POD_NAME", Settings.identity),
        log_level=_choice(env, "MMO_LOG_LEVEL", LOG_LEVELS),
        log_format=_choice(env, "MMO_LOG_FORMAT", LOG_FORMATS),
    )


def _tracking_uri(env: Mapping[str, str]) -> str | None:
    """Statuses and logs show it, so it must hold no password."""
    uri = env.get("MLFLOW_TRACKING_URI") or None
    if uri is not None and urlsplit(uri).password is not None:
        raise SettingsError(
            "MLFLOW_TRACKING_URI contains a password, which statuses and logs would show: set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        )
    return uri


def _webhooks(env: Mapping[str, str]) -> WebhookSettings | None:
    port = int(_number(env, "MMO_WEBHOOK_PORT", 0, minimum=0))
    if port == 0:
        return None
    folder = env.get("MMO_WEBHOOK_KEYS")
    if not folder:
        raise SettingsError(
            "MMO_WEBHOOK_KEYS is not set: write the folder with the keys that sign webhooks"
        )
    return WebhookSettings(port, Path(folder), _address(env.get("POD_IP"), port))


def _address(ip: str | None, port: int) -> str | None:
    if not ip:
        return None
    try:
        version = ip_address(ip).version
    except ValueError:
        raise SettingsError(f"POD_IP is {ip!r}: write an IP address") from None
    return f"[{ip}]:{port}" if version == 6 else f"{ip}:{port}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _number(env: Mapping[str, str], name: str, default: float, minimum: float) -> float:
    text = env.get(name)
    if text is None or text == "":
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{name} is {text!r}: write a number, like {default:g}") from None
    if value < minimum:
        raise SettingsError(f"{name} is {text}: write a number of at least {minimum:g}")
    return value


def _choice(env: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    text = env.get(name) or choices[0]
    if text not in choices:
        raise SettingsError(f"{name} is {text!r}: write one of {', '.join(choices)}")
    return text


def _policy(text: str) -> PolicySettings:
    """From JSON with the keys of the chart's `policy`, and `hostnames`."""
    example = '{"trackingUris": ["http://mlflow.{namespace}:5000"], "maxTrackingServers": 5}'
    try:
        rules = json.loads(text)
        hostnames, signatures = rules.get("hostnames", {}), rules.get("signatures", {})
        return PolicySettings(
            tracking_uris=_texts(rules.get("trackingUris", [])),
            max_tracking_servers=int(
                rules.get("maxTrackingServers", PolicySettings.max_tracking_servers)
            ),
            hostnames=_texts(hostnames.get("allowed", [])),
            hostnames_by_namespace={
                namespace: _texts(names)
                for namespace, names in hostnames.get("byNamespace", {}).items()
            },
            sources=_texts(rules.get("sources", [])),
            formats=_texts(rules.get("formats", [])),
            writable_models=_texts(rules.get("writableModels", [])),
            public_keys=_texts(signatures.get("publicKeys", [])),
            certificate_authorities=_texts(signatures.get("certificateAuthorities", [])),
            prometheus_urls=_texts(rules.get("prometheusUrls", [])),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError(f"MMO_POLICY cannot be used: write JSON like {example}") from error


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("not a list of strings")
    return tuple(value)


def _images(text: str) -> Mapping[str, str]:
    example = f'{{"3.11": "registry.example.com/scoring:{__version__}-py3.11"}}'
    try:
        images = json.loads(text)
    except ValueError:
        raise SettingsError(f"MMO_SCORING_IMAGES is not JSON: write {example}") from None
    if not isinstance(images, dict) or not all(isinstance(v, str) for v in images.values()):
        raise SettingsError(f"MMO_SCORING_IMAGES must map Python versions to images: {example}")
    return images
