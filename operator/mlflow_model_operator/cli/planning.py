"""A plan for one manifest, by the operator's own code. Pure, but for the environment's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_model_operator import __version__
from mlflow_model_operator.api import uri
from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import InvalidResource, MLflowModelDeployment
from mlflow_model_operator.api.schedule import Schedule
from mlflow_model_operator.cli.kubectl import CommandError
from mlflow_model_operator.cli.manifest import Manifest
from mlflow_model_operator.kube.objects import KubeObject, LiveChildren
from mlflow_model_operator.plan import (
    Changes,
    Plan,
    Resolution,
    RevisionNames,
    compute_changes,
    desired_objects,
    make_plan,
)
from mlflow_model_operator.rollout.steps import schedule
from mlflow_model_operator.settings import Settings, SettingsError, from_environment

NOT_LOOKED_UP = (
    "{uri} is not resolved, and stands for the version. Set --model-version N for the actual names "
    "of the revisions"
)
OTHER_SETTINGS = (
    "The operator's settings come from the environment (MLFLOW_TRACKING_URI, MMO_SCORING_IMAGES) "
    "or are the defaults; the names of revisions depend on them"
)


@dataclass(frozen=True)
class LiveState:
    """What the cluster has of a resource."""

    resource: Mapping[str, Any] | None  # None: it is not there yet
    children: LiveChildren
    settings: Settings
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Planned:
    """What a manifest becomes."""

    resource: MLflowModelDeployment
    plan: Plan
    objects: list[KubeObject]
    steps: Schedule
    changes: Changes | None = None  # against what is live
    notes: tuple[str, ...] = field(default=())

    @property
    def is_update(self) -> bool:
        """Whether pods of another revision serve already."""
        decision = self.plan.decision
        return decision.stable.name != decision.target.name


def offline_settings() -> Settings:
    """The operator's settings, from its variables in this environment. Raises CommandError."""
    return with_image(settings_of(None))


def settings_of(env: Mapping[str, str] | None) -> Settings:
    """The operator's settings from variables; from this environment's where there are none."""
    try:
        return from_environment() if env is None else from_environment(env)
    except SettingsError as error:
        raise CommandError(str(error)) from None


def with_image(settings: Settings) -> Settings:
    """The same with a scoring image of this release, where there is none.

    It is only shown: its registry is the chart value image.registry, which is not set here, and
    .invalid is a domain that nobody can have.
    """
    if settings.scoring_images:
        return settings
    python = settings.default_python_version
    image = f"image-registry.invalid/scoring:{__version__}-py{python}"
    return replace(settings, scoring_images={python: image})


def plan_offline(manifest: Manifest, settings: Settings, version: str) -> Planned:
    """The first plan of a resource: nothing is there yet."""
    state = LiveState(None, LiveChildren(), settings, (OTHER_SETTINGS,))
    return _planned(manifest.resource, state, version)


def plan_live(manifest: Manifest, state: LiveState, version: str) -> Planned:
    """The next plan of a resource, if the manifest were applied."""
    live = state.resource
    if live is None:
        return _planned(manifest.resource, state, version)
    metadata = {**manifest.raw["metadata"], "uid": live["metadata"].get("uid")}
    metadata["generation"] = (live["metadata"].get("generation") or 0) + _is_changed(manifest, live)
    raw = {**manifest.raw, "metadata": metadata, "status": live.get("status") or {}}
    return _planned(MLflowModelDeployment.parse(raw), state, version)


def _is_changed(manifest: Manifest, live: Mapping[str, Any]) -> bool:
    """Whether the manifest has another spec than what is live: the API server fills in defaults."""
    try:
        return manifest.resource.spec != MLflowModelDeployment.parse(live).spec
    except InvalidResource:  # what is live is of another version of the operator
        return True


def _planned(resource: MLflowModelDeployment, state: LiveState, version: str) -> Planned:
    spec, settings = resource.spec, state.settings
    names, children = RevisionNames(settings), state.children
    model = _model(spec.model.uri, resource, settings, version)
    unknown = ResolutionError(Reason.REGISTRY_UNREACHABLE, "")
    resolution = Resolution(
        model=model or unknown,
        canary=_stand_in(spec.canary.uri, resource, settings) if spec.canary else None,
        variants={
            variant.name: _stand_in(variant.uri, resource, settings) for variant in spec.variants
        },
        shadow=_stand_in(spec.shadow.uri, resource, settings) if spec.shadow else None,
    )
    now = 0.0
    plan = make_plan(resource, resolution, children, names, settings, now)
    notes = state.notes
    if plan is None:  # the version is not known from the status either
        stand_in = _stand_in(spec.model.uri, resource, settings)
        notes = (NOT_LOOKED_UP.format(uri=spec.model.uri), *notes)
        plan = make_plan(
            resource, replace(resolution, model=stand_in), children, names, settings, now
        )
    assert plan is not None
    objects = desired_objects(resource, plan, children, settings)
    changes = compute_changes(resource, plan, objects, children) if state.resource else None
    return Planned(resource, plan, objects, schedule(spec), changes, notes)


def _model(
    text: str, resource: MLflowModelDeployment, settings: Settings, version: str
) -> ModelVersion | None:
    """What a URI means without asking the registry; None where only that knows."""
    match uri.parse(text):
        case uri.RegisteredAlias(name) | uri.RegisteredStage(name) | uri.RegisteredLatest(name):
            return _registered(text, name, version, resource, settings) if version else None
        case _:
            return _stand_in(text, resource, settings)


def _stand_in(text: str, resource: MLflowModelDeployment, settings: Settings) -> ModelVersion:
    """What a URI means; where only the registry knows, the URI itself stands for the version."""
    match uri.parse(text):
        case uri.RegisteredVersion(name, version):
            return _registered(text, name, version, resource, settings)
        case uri.RegisteredAlias(name, label) | uri.RegisteredStage(name, label):
            return replace(_registered(text, name, label, resource, settings), uri=text)
        case uri.RegisteredLatest(name):
            return replace(_registered(text, name, "latest", resource, settings), uri=text)
        case uri.LoggedModel(model_id):
            return ModelVersion(text, text, model_id, _tracking_uri(resource, settings))
        case uri.RunModel(run_id):
            return ModelVersion(text, text, run_id, _tracking_uri(resource, settings))
        case _:
            return ModelVersion(text, text, "-")


def _registered(
    text: str, name: str, version: str, resource: MLflowModelDeployment, settings: Settings
) -> ModelVersion:
    fetched = f"models:/{name}/{version}"
    return ModelVersion(text, fetched, version, _tracking_uri(resource, settings), name)


def _tracking_uri(resource: MLflowModelDeployment, settings: Settings) -> str | None:
    return resource.spec.model.tracking_uri or settings.tracking_uri
