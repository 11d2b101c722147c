"""What may happen to the operator in the midst of a release."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from dev import installation, kube
from dev.kube import Kind, kubectl, wait_until
from e2e.steps import (
    DeployedModel,
    then_condition,
    when_the_operator_is_killed,
    when_the_tracking_server_is_back,
    when_the_tracking_server_is_gone,
)

LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases")
LEASE_SECONDS = 120
POLICY_SECONDS = 30


class OperatorKilled:
    """Its process dies; another takes over when the lease has run out."""

    name = "operator killed"

    def begin(self, deployed: DeployedModel) -> None:
        """The operator dies without a warning."""
        self._leader = _leader()
        when_the_operator_is_killed()

    def end(self, deployed: DeployedModel) -> None:
        """Another leads."""
        wait_until(
            "another operator leads",
            lambda: _leader() not in ("", self._leader),
            seconds=LEASE_SECONDS,
        )


class TrackingServerGone:
    """MLflow does not answer for a while."""

    name = "MLflow gone"

    def begin(self, deployed: DeployedModel) -> None:
        """The operator has noticed that it is gone."""
        when_the_tracking_server_is_gone(deployed.namespace)
        then_condition(deployed, "ModelResolved", "False", "RegistryUnreachable")

    def end(self, deployed: DeployedModel) -> None:
        """It answers again."""
        when_the_tracking_server_is_back(deployed.namespace)


Interruption = OperatorKilled | TrackingServerGone


@contextmanager
def services_frozen(namespace: str) -> Iterator[None]:
    """A policy of the cluster's: no Service of the namespace may be changed."""
    policies = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    name = f"freeze-{namespace}"
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["services"],
    }
    specs = (
        {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "change freeze"}],
        },
        {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
            },
        },
    )
    for kind, spec in zip(policies, specs, strict=True):
        _apply({"kind": kind, "metadata": {"name": name}, "spec": spec})
    try:
        wait_until(
            "services are frozen", lambda: not _may_change(namespace), seconds=POLICY_SECONDS
        )
        yield
    finally:
        for kind in reversed(policies):
            kubectl("delete", kind, name)


def _apply(policy: kube.KubeObject) -> None:
    text = json.dumps({"apiVersion": "admissionregistration.k8s.io/v1", **policy})
    kubectl("apply", "--server-side", "--filename=-", stdin=text)


def _may_change(namespace: str) -> bool:
    try:
        kubectl(
            *("annotate", "service", "wine", "try=it", "--dry-run=server", "--overwrite"),
            f"--namespace={namespace}",
        )
    except kube.CommandError:
        return False
    return True


def _leader() -> str:
    leases = kube.get_all(LEASE, installation.NAMESPACE)
    return str(leases[0]["spec"].get("holderIdentity") or "") if leases else ""
