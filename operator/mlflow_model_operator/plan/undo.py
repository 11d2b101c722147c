"""The earlier revision that an undo leads to, by the status and what is live. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.api.status import HistoryEntry
from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.plan.previous import live_revisions, revision_from_status
from mlflow_model_operator.plan.rollout import progress_of, requested_control
from mlflow_model_operator.rollout import deployment_state
from mlflow_model_operator.rollout.progress import Action, Progress, Stage
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.settings import Settings

PROMOTED, UNDO = "Promoted", "Undo"  # a verdict and a trigger of the status's history
Render = Callable[[ModelVersion], Revision]  # the revision of a model by the present spec


def earlier_revision(
    resource: MLflowModelDeployment,
    target: Revision,
    stable: Revision | None,
    live: LiveChildren,
    settings: Settings,
    render: Render,
) -> Revision | None:
    """The revision that the undo under way leads to, or the one that a person asks for now."""
    recorded, control = progress_of(resource, target), requested_control(resource)
    if recorded is not None and recorded.stage is Stage.UNDOING:
        under_way = revision_from_status(resource.status.target)
        return _existing(under_way, recorded, live, render) if under_way else None
    if control is None or control.action is not Action.UNDO or stable is None:
        return None
    if not _is_at_rest(recorded, target, stable):
        return None
    excluded = {stable.name, target.name}
    candidates = (
        _revision(entry, live, settings, render)
        for entry in earlier_entries(
            resource.status.history, stable.name, target.name, control.version
        )
    )
    usable = (revision for revision in candidates if revision and revision.name not in excluded)
    return next(usable, None)


def earlier_entries(
    history: Sequence[HistoryEntry], stable: str, target: str, version: str = ""
) -> Iterator[HistoryEntry]:
    """The entries of the history that may be gone back to, the latest first.

    `stable` and `target` are the names of the revision that serves and of the one that the spec
    asks for; `version` is a model version or the name of a revision, or "" for what was promoted
    before the stable revision.
    """
    entries = history if version else history[: _position(history, stable)]
    for entry in reversed(entries):
        is_named = version in ("", entry.model_version, entry.revision)
        if entry.verdict == PROMOTED and is_named and entry.revision not in (stable, target):
            yield entry


def _position(history: Sequence[HistoryEntry], stable: str) -> int:
    """Where the stable revision was promoted last; an undo is no promotion, else a second one would
    lead forward again."""
    own = [index for index, entry in enumerate(history) if entry.revision == stable]
    promoted = [index for index in own if history[index].trigger != UNDO]
    return max(promoted, default=min(own, default=len(history)))


def _is_at_rest(recorded: Progress | None, target: Revision, stable: Revision) -> bool:
    """Whether no rollout is under way."""
    is_turned_back = recorded is not None and recorded.stage is Stage.FAILED
    return is_turned_back or target.name == stable.name


def _existing(
    revision: Revision, recorded: Progress, live: LiveChildren, render: Render
) -> Revision | None:
    """The same, if its pods are there or the present spec can make them."""
    if revision.name != recorded.earlier:
        return None
    is_there = _is_live(revision.name, live)
    return revision if is_there or render(revision.model).name == revision.name else None


def _revision(
    entry: HistoryEntry, live: LiveChildren, settings: Settings, render: Render
) -> Revision | None:
    """The revision of an entry while it runs; else its model version with the present template."""
    recorded = revision_from_status(entry)
    if _is_live(entry.revision, live):
        return recorded or live_revisions(live, settings).get(entry.revision)
    return render(replace(recorded.model, tags=())) if recorded else None


def _is_live(name: str, live: LiveChildren) -> bool:
    return deployment_state(live.deployments.get(name)).exists
