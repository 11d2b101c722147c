"""The chart on a real API server: what it installs, upgrades, and leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from mlflow_model_operator.kube import kinds
from tests.integration.chart.conftest import Cluster
from tests.unit.chart.rendering import ALL_ON, CHART, NAMESPACE, RELEASE, Helm, the

CRD = f"{kinds.RESOURCE.plural}.{kinds.RESOURCE.group}"


def printer_columns(cluster: Cluster) -> list[str]:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD}"
    (version,) = cluster.api.request("GET", path).json()["spec"]["versions"]
    return [column["name"] for column in version["additionalPrinterColumns"]]


def older_chart(folder: Path) -> Path:
    """A chart whose CRD has one column only."""
    chart = shutil.copytree(CHART, folder / CHART.name)
    (file,) = (chart / "files" / "crds").glob("*.yaml")
    crd = yaml.safe_load(file.read_text(encoding="utf-8"))
    (version,) = crd["spec"]["versions"]
    del version["additionalPrinterColumns"][1:]
    file.write_text(yaml.safe_dump(crd))
    return chart


def test_the_crd_is_upgraded_and_outlives_the_release(cluster: Cluster, tmp_path: Path) -> None:
    cluster.install(older_chart(tmp_path))
    assert len(printer_columns(cluster)) == 1

    cluster.install()
    assert len(printer_columns(cluster)) > 1

    cluster.uninstall()
    assert len(printer_columns(cluster)) > 1
    deployment = f"{kinds.DEPLOYMENT.path(NAMESPACE, RELEASE)}"
    assert cluster.api.request("GET", deployment).status_code == 404

    cluster.install()
    cluster.uninstall()


def test_the_api_server_takes_everything(cluster: Cluster) -> None:
    values: dict[str, Any] = {
        **ALL_ON,
        "metrics": {},  # monitors need the Prometheus operator
        "modelMetrics": {},
        "watchNamespaces": [cluster.api.make_namespace()],
        "gatewayNamespaces": [cluster.api.make_namespace()],
    }

    cluster.install(**values)

    cluster.uninstall()


def test_the_pods_pass_the_restricted_standard(cluster: Cluster, helm: Helm) -> None:
    objects = helm.render(**ALL_ON | {"priorityClassName": ""})
    template = the(objects, "Deployment")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"] = {**template["metadata"], "name": "operator"}

    path = f"{kinds.POD.path(NAMESPACE)}?dryRun=All&fieldValidation=Strict"
    taken = cluster.api.request("POST", path, pod)
    assert taken.ok, taken.text

    del pod["spec"]["containers"][0]["securityContext"]["capabilities"]
    refused = cluster.api.request("POST", path, pod)
    assert "unrestricted capabilities" in json.loads(refused.text)["message"]
