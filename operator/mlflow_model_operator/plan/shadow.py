"""The shadow of a resource: which one the spec asks for, and what is to be read of it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlflow_model_operator import render
from mlflow_model_operator.analysis import ShadowMeasurement, ShadowReport
from mlflow_model_operator.api import quantity
from mlflow_model_operator.api.model_version import ModelVersion, ResolutionResult
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.plan.previous import model_to_serve, revision_from_status
from mlflow_model_operator.rollout import Decision, Phase, Shadow
from mlflow_model_operator.rollout.state import Revision, deployment_state

# Between two looks at what the pods have counted, where no analysis says otherwise.
INTERVAL = 30.0  # seconds
# The same until they report that they send copies.
STARTING_INTERVAL = 5.0


def requested_shadow(
    resource: MLflowModelDeployment,
    resolved: ResolutionResult | None,
    render: Callable[[ModelVersion], Revision],
) -> Shadow | None:
    """The shadow that the spec names; None where it names none, or it was never resolved."""
    spec = resource.spec.shadow
    if spec is None or resolved is None:
        return None
    previous = revision_from_status(resource.status.shadow)
    is_same = previous is not None and previous.model.requested == spec.uri
    model = model_to_serve(resolved, [previous.model] if previous and is_same else [])
    if model is None:
        return None
    return Shadow(
        revision=render(replace(model, tags=())),
        percent=spec.percent,
        timeout=spec.timeout_seconds,
        max_body_bytes=spec.max_body_bytes,
        examples=spec.examples,
        replicas=spec.replicas,
    )


def active_shadow(decision: Decision) -> Shadow | None:
    """The shadow that the pods of the stable revision are to send copies to; None: to none."""
    return None if decision.phase is Phase.STOPPED else decision.shadow


def shadow_with_copies(
    resource: MLflowModelDeployment, decision: Decision, live: LiveChildren
) -> Shadow | None:
    """The shadow that answers, or that gets copies already, for then its errors count; or None."""
    shadow = active_shadow(decision)
    if shadow is None:
        return None
    name = shadow.revision.name
    config = live.config_maps.get(render.shadow_config_name(resource), {})
    receives = any(f'"{name}"' in file for file in config.get("data", {}).values())
    return shadow if receives or deployment_state(live.deployments.get(name)).answers else None


def shadow_measurement(
    resource: MLflowModelDeployment, decision: Decision | None, report: ShadowReport | None
) -> ShadowMeasurement | None:
    """What is to be read of the stable revision's pods; None where they send no copies."""
    shadow = active_shadow(decision) if decision else None
    if shadow is None or decision is None:
        return None
    sender, name = decision.stable.name, shadow.revision.name
    is_in_effect = sends_copies(report, sender, name)
    analysis = resource.spec.rollout.analysis
    interval = quantity.seconds(analysis.interval) if analysis else INTERVAL
    return ShadowMeasurement(
        key=resource.key,
        stable=sender,
        shadow=name,
        interval=interval if is_in_effect else min(interval, STARTING_INTERVAL),
    )


def sends_copies(report: ShadowReport | None, stable: str, shadow: str) -> bool:
    """Whether pods of the stable revision report that they send copies to that revision."""
    return report is not None and report.is_of(stable, shadow) and report.senders > 0
