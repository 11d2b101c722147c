"""The conditions of `spec.variants`: whether each is ready, and has its share of the requests."""

from __future__ import annotations

from mlflow_model_operator.api.match_fields import Variant as WrittenVariant
from mlflow_model_operator.api.model_version import ResolutionError
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.rollout import Decision, Phase
from mlflow_model_operator.rollout.variants import Variant, split
from mlflow_model_operator.status.condition import Condition, met, unmet
from mlflow_model_operator.status.diagnosis import diagnose
from mlflow_model_operator.status.rollout import variant_trigger
from mlflow_model_operator.status.snapshot import Snapshot


def variants_ready(snapshot: Snapshot) -> Condition | None:
    """Whether each variant can take its share; None where there are none."""
    written, decision = snapshot.resource.spec.variants, snapshot.decision
    if not written:
        return None
    if decision is None:
        why = "There is no stable version yet; see condition ModelResolved"
        return unmet("VariantsReady", Reason.MODEL_UNRESOLVED, why)
    problems = (_problem(snapshot, decision, variant) for variant in written)
    problem = next(filter(None, problems), None)
    if problem is not None:
        return problem
    return met("VariantsReady", Reason.READY, "All variants are ready")


def _problem(snapshot: Snapshot, decision: Decision, written: WrittenVariant) -> Condition | None:
    resolved = snapshot.variant_resolutions.get(written.name)
    variant = _named(decision, written.name)
    if isinstance(resolved, ResolutionError):
        version = variant.revision.model.version if variant else ""
        remains = f". Version {version} remains the variant" if version else ""
        text = f"Variant {written.name}: {resolved.message}{remains}"
        return unmet("VariantsReady", resolved.reason, text)
    if variant is None:  # the same as the stable version
        return None
    if decision.phase == Phase.STOPPED:
        return unmet("VariantsReady", Reason.STOPPED, "Stopped: spec.scaling.minReplicas is 0")
    state = snapshot.state(variant.revision)
    if state.is_ready:
        return None
    failure = diagnose(snapshot, variant.revision)
    if failure is not None:
        text = f"Variant {written.name}: {failure.message}"
        return unmet("VariantsReady", failure.reason, text)
    if state.answers and _has_requests(decision, variant):
        return None
    text = (
        f"Variant {written.name}, version {variant.revision.model.version} "
        f"({variant.revision.name}), is starting: {state.ready} of {max(state.desired, 1)} ready"
    )
    return unmet("VariantsReady", Reason.STARTING, text)


def variants_split(snapshot: Snapshot, decision: Decision) -> Condition:
    """Whether the variants have the weights that the spec sets."""
    unresolved = [
        written.name
        for written in snapshot.resource.spec.variants
        if isinstance(snapshot.variant_resolutions.get(written.name), ResolutionError)
        and _named(decision, written.name) is None
    ]
    if unresolved:
        text = f"The share of variant {', '.join(unresolved)} goes to the stable version"
        return unmet("TrafficSplit", Reason.CANARY_UNRESOLVED, text)
    if decision.traffic == split(decision.stable.name, decision.variants):
        return met("TrafficSplit", Reason.APPLIED, _shares(decision))
    if decision.stable.name not in dict(decision.traffic) and not snapshot.answers(decision.stable):
        version = decision.stable.model.version
        text = f"All requests go to the variants until version {version} has a ready pod"
        return unmet("TrafficSplit", Reason.STABLE_NOT_READY, text)
    waiting = (
        variant
        for variant in decision.variants
        if variant.weight > 0 and not _has_requests(decision, variant)
    )
    texts = [f"{variant.name} gets {variant.weight} %" for variant in waiting]
    return unmet(
        "TrafficSplit",
        Reason.CANARY_NOT_READY,
        f"{', '.join(texts)} of the requests when ready; until then they go to version "
        f"{decision.stable.model.version}",
    )


def are_variants_from_outside(
    snapshot: Snapshot, decision: Decision, triggers: tuple[str, ...]
) -> bool:
    """Whether the variants that are not ready were begun by one of these `triggers`.

    Where all are ready, an earlier revision of one of them may still be draining.
    """
    begun = {
        variant.revision.name: variant_trigger(snapshot.resource, variant) in triggers
        for variant in decision.variants
    }
    pending = [
        begun[variant.revision.name]
        for variant in decision.variants
        if not snapshot.state(variant.revision).is_ready
    ]
    return all(pending) if pending else any(begun.values())


def were_variants_resolved(snapshot: Snapshot, decision: Decision) -> bool:
    """Whether each variant that can't be resolved now was before, by the same URI."""
    models = {variant.name: variant.revision.model for variant in decision.variants}
    models |= {
        written.name: decision.stable.model
        for written in snapshot.resource.spec.variants
        if written.name not in models
    }
    return all(
        models[written.name].requested == written.uri
        for written in snapshot.resource.spec.variants
        if isinstance(snapshot.variant_resolutions.get(written.name), ResolutionError)
    )


def _named(decision: Decision, name: str) -> Variant | None:
    return next((variant for variant in decision.variants if variant.name == name), None)


def _has_requests(decision: Decision, variant: Variant) -> bool:
    name = variant.revision.name
    return name in dict(decision.traffic) or name in decision.matched


def _shares(decision: Decision) -> str:
    versions = {revision.name: revision.model.version for revision in decision.revisions}
    names = {variant.revision.name: f" ({variant.name})" for variant in decision.variants}
    shares = [
        f"version {versions[name]}{names.get(name, '')} gets {weight} %"
        for name, weight in decision.traffic
    ]
    text = ", ".join(shares)
    return f"{text[:1].upper()}{text[1:]} of the requests"
