"""What every cluster here has: metrics-server, Envoy Gateway with Envoy, and a shared Gateway."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from . import versions
from .binaries import source_folder
from .errors import ClusterError
from .files import scratch_folder
from .kubectl import Kubectl
from .nodeimage import ENVOY_GATEWAY_IMAGE, ENVOY_IMAGE, METRICS_SERVER_IMAGE
from .progress import step
from .settings import PACKAGE, Settings
from .shell import run

UPSTREAM_ENVOY_GATEWAY_IMAGE = f"docker.io/envoyproxy/gateway:{versions.ENVOY_GATEWAY}"
UPSTREAM_METRICS_SERVER_IMAGE = (
    f"registry.k8s.io/metrics-server/metrics-server:{versions.METRICS_SERVER}"
)
# One of each registry that nodes pull from, if they don't bring our own.
UPSTREAM_IMAGES = (UPSTREAM_ENVOY_GATEWAY_IMAGE, UPSTREAM_METRICS_SERVER_IMAGE)

MANIFESTS = PACKAGE / "manifests"
READY_SECONDS = 180


def install_addons(settings: Settings, *, local_images: bool) -> None:
    """Install everything and wait until it works."""
    with ThreadPoolExecutor() as pool:
        parts = [
            pool.submit(_install_metrics_server, settings, local_images=local_images),
            pool.submit(_install_envoy_gateway, settings, local_images=local_images),
        ]
    for part in parts:
        part.result()
    wait_for_addons(settings)


def wait_for_addons(settings: Settings) -> None:
    """Wait until nodes, DNS, metrics and the gateway work."""
    kubectl = Kubectl(settings)
    timeout = f"--timeout={READY_SECONDS}s"
    with step("Waiting for the gateway and metrics-server", expected=25):
        kubectl.run("wait", "nodes", "--all", "--for=condition=Ready", timeout)
        kubectl.run("rollout", "status", "deployment/coredns", "--namespace=kube-system", timeout)
        kubectl.run(
            *("wait", "gateway/shared", "--namespace=gateways"),
            *("--for=condition=Programmed", timeout),
        )
        kubectl.run(
            *("wait", "apiservice/v1beta1.metrics.k8s.io", "--for=condition=Available", timeout)
        )
        _wait_for_node_metrics(kubectl)


def _wait_for_node_metrics(kubectl: Kubectl) -> None:
    # The API answers before it has measured anything, and an autoscaler that asks too early waits
    # long to ask again.
    deadline = time.monotonic() + READY_SECONDS
    while kubectl.attempt("top", "nodes").returncode != 0:
        if time.monotonic() > deadline:
            raise ClusterError("metrics-server has no metrics of nodes; see `kubectl top nodes`.")
        time.sleep(1)


def _install_metrics_server(settings: Settings, *, local_images: bool) -> None:
    chart = source_folder("kubernetes", "sigs.k8s.io/metrics-server") / "charts/metrics-server"
    image = METRICS_SERVER_IMAGE if local_images else UPSTREAM_METRICS_SERVER_IMAGE
    repository, _, tag = image.rpartition(":")
    images = {"image.repository": repository, "image.tag": tag}
    _helm_install(settings, "metrics-server", chart, "kube-system", images)


def _install_envoy_gateway(settings: Settings, *, local_images: bool) -> None:
    # Otherwise Envoy Gateway names the Envoy that it was tested with.
    images = {"global.images.envoyProxy.image": ENVOY_IMAGE} if local_images else {}
    with _envoy_gateway_chart(settings, local_images=local_images) as chart:
        _helm_install(settings, "envoy-gateway", chart, "envoy-gateway-system", images)
    Kubectl(settings).apply((MANIFESTS / "gateway.yaml").read_text())


@contextmanager
def _envoy_gateway_chart(settings: Settings, *, local_images: bool) -> Iterator[Path]:
    """Complete the chart as its release would: the source has a template in place of its values."""
    source = source_folder("envoy-gateway", "github.com/envoyproxy/gateway") / "charts/gateway-helm"
    image = ENVOY_GATEWAY_IMAGE if local_images else UPSTREAM_ENVOY_GATEWAY_IMAGE
    with scratch_folder(settings.cache / "charts") as folder:
        chart = folder / "gateway-helm"
        shutil.copytree(source, chart, copy_function=shutil.copyfile)
        _make_writable(chart)
        template = (chart / "values.tmpl.yaml").read_text()
        (chart / "values.yaml").write_text(filled_values(template, image))
        yield chart


def filled_values(template: str, image: str) -> str:
    """Fill in the chart's default values."""
    return template.replace("${GatewayImage}", image).replace(
        "${GatewayImagePullPolicy}", "IfNotPresent"
    )


def _make_writable(folder: Path) -> None:
    # Folders copied from Go's module cache are read-only, and so could not be removed again.
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        path.chmod(0o755)


def _helm_install(
    settings: Settings, name: str, chart: Path, namespace: str, images: dict[str, str]
) -> None:
    with step(f"Installing {name}", expected=15):
        run(
            *(settings.bin / "helm", "upgrade", "--install", name, chart),
            *(f"--namespace={namespace}", "--create-namespace"),
            f"--values={MANIFESTS / name}.values.yaml",
            *(f"--set={key}={value}" for key, value in images.items()),
            f"--kubeconfig={settings.kubeconfig}",
            log="helm",
        )
