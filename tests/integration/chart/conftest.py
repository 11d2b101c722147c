"""An API server of the chart's own, for it installs and removes the CRD."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dev.cluster.binaries import source_folder
from tests.integration import control_plane
from tests.integration.control_plane import ApiServer
from tests.unit.chart.rendering import CHART, NAMESPACE, RELEASE, REQUIRED, Helm, merged

ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
GATEWAY_API = ("gateways", "httproutes")


@dataclass(frozen=True)
class Used:
    """One request, as the audit log tells it."""

    verb: str
    group: str
    resource: str  # with its subresource: deployments/status
    namespace: str
    code: int


@dataclass(frozen=True)
class Cluster:
    """The API server with Helm, and what its audit log says."""

    api: ApiServer
    helm: Helm
    audit_log: Path

    def install(self, chart: Path = CHART, **values: Any) -> None:
        """Installs or upgrades the release."""
        self._helm(
            *("upgrade", "--install", RELEASE, str(chart), "--values=-"),
            given=json.dumps(merged(REQUIRED, values)),
        )

    def uninstall(self) -> None:
        """Removes the release."""
        self._helm("uninstall", RELEASE)

    def requests_of_the_operator(self) -> list[Used]:
        """All requests for objects that the chart's service account has made since `forget`."""
        events = map(json.loads, self.audit_log.read_text(encoding="utf-8").splitlines())
        return [
            Used(
                event["verb"],
                reference.get("apiGroup", ""),
                "/".join(filter(None, (reference["resource"], reference.get("subresource")))),
                reference.get("namespace", ""),
                event.get("responseStatus", {}).get("code", 0),
            )
            for event in events
            if event["user"]["username"] == ACCOUNT and (reference := event.get("objectRef"))
        ]

    def forget(self) -> None:
        """Empties the audit log, to which the API server appends."""
        self.audit_log.write_text("")

    def _helm(self, *arguments: str, given: str = "") -> None:
        kubeconfig = f"--kubeconfig={self.api.kubeconfig}"
        done = self.helm.run(*arguments, kubeconfig, f"--namespace={NAMESPACE}", given=given)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def cluster(kubernetes_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With the Gateway API, and as strict about rights as OpenShift."""
    folder = tmp_path_factory.mktemp("chart")
    log, policy = folder / "audit.log", folder / "audit-policy.yaml"
    policy.write_text(
        json.dumps(
            {
                "apiVersion": "audit.k8s.io/v1",
                "kind": "Policy",
                "omitStages": ["RequestReceived"],
                "rules": [{"level": "Metadata"}],
            }
        )
    )
    flags = [
        f"--audit-log-path={log}",
        f"--audit-policy-file={policy}",
        "--audit-log-mode=blocking-strict",
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        "--allow-privileged=true",  # as in most clusters: it must be a policy that refuses it
    ]
    helm = Helm(control_plane.tools("helm") / "helm")
    with control_plane.api_server(folder, kubernetes_tools, flags) as api:
        gateway_api = source_folder("envoy-gateway", "sigs.k8s.io/gateway-api")
        crds = gateway_api / "config" / "crd" / "standard"
        api.install_crds(*(crds / f"gateway.networking.k8s.io_{name}.yaml" for name in GATEWAY_API))
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {"metadata": {"name": NAMESPACE, "labels": restricted}}
        api.request("POST", "/api/v1/namespaces", namespace).raise_for_status()
        yield Cluster(api, helm, log)


@pytest.fixture(scope="module")
def helm(cluster: Cluster) -> Helm:
    """The helm of this project."""
    return cluster.helm
