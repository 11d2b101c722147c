"""The control plane of the benchmark: Kubernetes' own programs and kwok, as plain processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from dev.cluster.binaries import source_folder
from tests.integration import control_plane
from tests.integration.control_plane import ApiServer, free_port, process, wait_for
from tests.integration.tracking_server import TrackingServer, tracking_server

PROGRAMS = (
    "kube-apiserver",
    "etcd",
    "kubectl",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
    "helm",
)
NODES = 10
OPERATOR_NAMESPACE = "operator"
RELEASE = "mlflow-model-operator"
USER = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{RELEASE}"
CHART = control_plane.REPOSITORY / "charts" / "mlflow-model-operator"
MODEL = "wine"
MLMODEL = "flavors:\n  python_function:\n    python_version: 3.11.9\nmodel_uuid: wine\n"
# By default these programs hold themselves back to 20 and 50 requests a second. The question is
# what the operator can do, so they are not to be what it waits for.
UNHURRIED = ("--kube-api-qps=1000", "--kube-api-burst=2000")


@dataclass
class Plane:
    """All that the operator needs around it, running."""

    api: ApiServer
    mlflow: TrackingServer
    audit_log: Path
    pids: dict[str, int]


@contextmanager
def plane(folder: Path, pod_cidr: str = "10.0.0.0/24") -> Iterator[Plane]:
    """Runs the control plane with its nodes, the CRD, the chart's RBAC and an MLflow server.

    `pod_cidr` has the addresses of the pods, which no process has.
    """
    binaries = control_plane.tools(*PROGRAMS)
    audit_log = folder / "audit.log"
    with ExitStack() as stack:
        mlflow = stack.enter_context(tracking_server(folder))
        _register_model(mlflow)
        flags = _audit_flags(folder, audit_log)
        api = stack.enter_context(control_plane.api_server(folder, binaries, flags))
        controllers = ("--horizontal-pod-autoscaler-sync-period=15s", *UNHURRIED)
        stack.enter_context(control_plane.controller_manager(api, controllers))
        for name, command in _others(api, binaries, pod_cidr).items():
            stack.enter_context(process(name, command, folder))
        _make_nodes(api)
        api.install_crds(*sorted(control_plane.CRD_FOLDER.glob("*.yaml")))
        _grant(api)
        yield Plane(api, mlflow, audit_log, _pids(folder))


def operator_kubeconfig(api: ApiServer) -> Path:
    """The way in for the operator: its service account's token, as in a pod."""
    path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts/{RELEASE}/token"
    request = {"spec": {"expirationSeconds": 7200}}
    answer = api.request("POST", path, request)
    answer.raise_for_status()
    config = yaml.safe_load(api.kubeconfig.read_text())
    config["users"] = [{"name": "admin", "user": {"token": answer.json()["status"]["token"]}}]
    file = api.folder / "operator.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


def _audit_flags(folder: Path, log: Path) -> Sequence[str]:
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata", "users": [USER]}, {"level": "None"}],
    }
    file = folder / "audit-policy.yaml"
    file.write_text(yaml.safe_dump(policy))
    return (f"--audit-policy-file={file}", f"--audit-log-path={log}")


def _others(api: ApiServer, binaries: Path, pod_cidr: str) -> dict[str, list[str | Path]]:
    scheduler: list[str | Path] = [
        binaries / "kube-scheduler",
        f"--kubeconfig={api.kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={free_port()}",
        f"--cert-dir={api.folder / 'scheduler'}",
        "--leader-elect=false",
        *UNHURRIED,
    ]
    kubelets: list[str | Path] = [
        binaries / "kwok",
        f"--kubeconfig={api.kubeconfig}",
        "--manage-all-nodes",
        *(f"--config={file}" for file in _stages()),
        "--node-lease-duration-seconds=40",
        f"--server-address=127.0.0.1:{free_port()}",
        f"--cidr={pod_cidr}",
    ]
    return {"kube-scheduler": scheduler, "kwok": kubelets}


def _stages() -> list[Path]:
    """How kwok's nodes and pods fare: as well and as quickly as they can."""
    folder = source_folder("kubernetes", "sigs.k8s.io/kwok") / "kustomize" / "stage"
    some = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
    found = [file for one in some for file in sorted((folder / one).glob("*.yaml"))]
    return [file for file in found if file.name != "kustomization.yaml"]


def _make_nodes(api: ApiServer) -> None:
    for number in range(NODES):
        node = {"metadata": {"name": f"node-{number}"}}
        api.request("POST", "/api/v1/nodes", node).raise_for_status()
    wait_for(lambda: _ready_nodes(api) == NODES, f"{NODES} nodes to be ready")


def _ready_nodes(api: ApiServer) -> int:
    nodes = api.request("GET", "/api/v1/nodes").json()["items"]
    return sum(_is_ready(node) for node in nodes)


def _is_ready(obj: dict[str, Any]) -> bool:
    conditions = obj.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _grant(api: ApiServer) -> None:
    """The operator's service account with the rights that the chart gives it, and no others."""
    namespace = {"metadata": {"name": OPERATOR_NAMESPACE}}
    api.request("POST", "/api/v1/namespaces", namespace).raise_for_status()
    templates = ("rbac", "serviceaccount")
    shown = [f"--show-only=templates/{name}.yaml" for name in templates]
    command: list[str | Path] = [
        api.bin / "helm",
        "template",
        RELEASE,
        CHART,
        "--set=image.registry=registry.example.com",
        "-n",
        OPERATOR_NAMESPACE,
        *shown,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    api.kubectl("apply", "-n", OPERATOR_NAMESPACE, "-f", "-", given=done.stdout)


def _register_model(mlflow: TrackingServer) -> None:
    """A model of which only that is there which the operator reads."""
    run = _post(mlflow, "runs/create", {"experiment_id": "0"})["run"]["info"]
    path = f"{run['artifact_uri'].partition(':/')[2]}/{MODEL}/MLmodel"
    url = f"{mlflow.url}/api/2.0/mlflow-artifacts/artifacts/{path.lstrip('/')}"
    requests.put(url, data=MLMODEL.encode(), timeout=30).raise_for_status()
    version = {"name": MODEL, "source": f"{run['artifact_uri']}/{MODEL}", "run_id": run["run_id"]}
    _post(mlflow, "registered-models/create", {"name": MODEL})
    _post(mlflow, "model-versions/create", version)
    mlflow.point(MODEL, "champion", "1")


def _post(mlflow: TrackingServer, path: str, body: dict[str, Any]) -> Any:
    answer = requests.post(f"{mlflow.url}/api/2.0/mlflow/{path}", json=body, timeout=30)
    if not answer.ok:
        raise RuntimeError(f"{path}: {answer.text}")
    return answer.json()


def _pids(folder: Path) -> dict[str, int]:
    """The processes that run in the folder, by program."""
    found: dict[str, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cwd").resolve() == folder.resolve():
                program = (entry / "cmdline").read_bytes().split(b"\0")[0].decode()
                found.setdefault(Path(program).name, int(entry.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found
