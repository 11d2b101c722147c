"""What must be so, at the latest after a while."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from dev import kube
from dev.kube import Kind, KubeObject, kubectl, wait_until
from dev.traffic import Load, Request, RequestFailed
from e2e.steps.given import DeployedModel
from mlflow_model_operator.api import names

Found = TypeVar("Found")

# Several models start at the same time on a small machine.
SECONDS = 180
CHILDREN = (
    *(kube.DEPLOYMENT, kube.SERVICE, kube.AUTOSCALER, kube.BUDGET, kube.ROUTE),
    *(kube.NETWORK_POLICY, kube.CONFIG_MAP),
)


def wait_for(
    deployed: DeployedModel,
    what: str,
    look: Callable[[], Found | None],
    seconds: float = SECONDS,
) -> Found:
    """Waits; a failure shows all that is known of the namespace."""
    return wait_until(what, look, seconds=seconds, explain=lambda: kube.story(deployed.namespace))


def then_condition(
    deployed: DeployedModel,
    type_: str,
    status: str,
    reason: str | None = None,
    says: Collection[str] = (),
    seconds: float = SECONDS,
) -> KubeObject:
    """A condition comes to have this status and reason; its message has all that `says` lists."""

    def holds() -> KubeObject | None:
        found = kube.conditions({"status": deployed.status}).get(type_)
        if (
            found is None
            or found["status"] != status
            or found["reason"] != (reason or found["reason"])
            # The first words may be of a state that passes, like fewer pods than there will be.
            or any(text not in found["message"] for text in says)
        ):
            return None
        return found

    wanted = f"{deployed.name} has {type_}={status}" + (f" {reason}" if reason else "")
    wanted += f" that says {', '.join(says)}" if says else ""
    return wait_for(deployed, wanted, holds, seconds)


def then_is_served(deployed: DeployedModel, version: int | str | None = None) -> dict[str, Any]:
    """All is as the spec says, by one version (and nothing of an older one is left)."""

    def settled() -> dict[str, Any] | None:
        status = deployed.status
        if kube.conditions({"status": status}).get("Ready", {}).get("status") != "True":
            return None
        if version is not None and status["stable"]["modelVersion"] != str(version):
            return None
        roles = [status.get(role, {}) for role in ("stable", "canary", "shadow")]
        wanted = {role.get("revision") for role in roles + status.get("variants", [])} - {None}
        deployments = {obj["metadata"]["name"] for obj in children_of(deployed, kube.DEPLOYMENT)}
        return status if deployments == wanted else None

    which = f"version {version} " if version is not None else ""
    return wait_for(deployed, f"{which}of {deployed.name} is served, and nothing else", settled)


def then_it_answers(deployed: DeployedModel, answer: Any, request: Request | None = None) -> None:
    """The model answers through the gateway with this."""
    seen: list[Any] = []

    def answers() -> bool:
        seen[:] = [answer_of(request or deployed.request)]
        return bool(seen[0] == answer)

    wait_until(
        f"{deployed.name} answers {answer!r}",
        answers,
        seconds=SECONDS,
        explain=lambda: f"It answers {seen}\n{kube.story(deployed.namespace)}",
    )


def answer_of(request: Request) -> Any:
    """The answer, or the failure in words."""
    try:
        return request.send()
    except RequestFailed as failure:
        return str(failure)


def then_nothing_failed(load: Load) -> None:
    """Every request of a load was answered."""
    assert load.sent > 0
    failed = Counter(what for _, what in load.failures)
    assert not failed, f"{len(load.failures)} of {load.sent} requests failed: {dict(failed)}"


def then_no_other_version_answered(load: Load, *versions: str) -> None:
    """Only these versions gave answers."""
    strangers = set(load.counts()) - set(versions)
    assert not strangers, f"answers of {strangers} among {dict(load.counts())}"


def children_of(deployed: DeployedModel, *children: Kind) -> list[KubeObject]:
    """The objects that the operator has made for a resource, of some kinds or of all."""
    selector = f"{names.DEPLOYMENT}={deployed.name}"
    return [
        obj
        for kind in children or CHILDREN
        for obj in kube.get_all(kind, deployed.namespace, selector)
    ]


def then_everything_is_gone(deployed: DeployedModel) -> None:
    """The resource, its children and their pods."""

    def gone() -> bool:
        resource = kube.get(kube.RESOURCE, deployed.name, deployed.namespace)
        return resource is None and not children_of(deployed, *CHILDREN, kube.POD)

    wait_for(deployed, f"nothing of {deployed.name} is left", gone)


def then_kubectl_shows(deployed: DeployedModel, *texts: str) -> None:
    """`kubectl get mmd` tells it."""
    printed = kubectl(
        "get", "mmd", deployed.name, f"--namespace={deployed.namespace}", "-o", "wide"
    )
    missing = [text for text in texts if text not in printed]
    assert not missing, f"`kubectl get mmd` does not show {missing}:\n{printed}"
