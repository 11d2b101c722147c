"""The Go programs that the cluster is made of: built once, kept in the cache by version."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import versions
from .errors import ClusterError
from .files import link_atomically, scratch_folder
from .progress import step
from .settings import PACKAGE, Settings
from .shell import capture, run, which

GO_WANTED = (
    "Go 1.26 or newer is required to build the cluster's tools; see https://go.dev/doc/install."
)
AT_ONCE = 2
NAMED_AT_MOST = 2
OUR_MODULE = "mlflow-model-operator.dev/cluster"  # what the go.mod files in tools/ begin with
GITOPS_HEALTH = f"{versions.ARGO_CD}-kstatus-{versions.KSTATUS}"
COREDNS = f"{versions.COREDNS}-small"  # not with all its plugins


@dataclass(frozen=True)
class Program:
    """A Go program: where it comes from, and as which version."""

    name: str
    module: str
    package: str
    version: str
    on_host: bool = False

    @property
    def built_as(self) -> str:
        """The name that `go build` gives it: the last part of the path that is no major version."""
        parts = self.package.split("/")
        return parts[-2] if parts[-1].startswith("v") and parts[-1][1:].isdigit() else parts[-1]


@dataclass(frozen=True)
class Module:
    """A folder in tools/ with a go.mod that pins what is built from it."""

    name: str
    title: str
    expected_seconds: float

    @property
    def folder(self) -> Path:
        """Where its go.mod is."""
        return PACKAGE / "tools" / self.name


# The slowest first: they decide when all is there.
MODULES = {
    module.name: module
    for module in (
        Module(
            "kubernetes",
            (f"Building Kubernetes {versions.KUBERNETES}, etcd, CoreDNS, Helm and metrics-server"),
            600,
        ),
        Module("envoy-gateway", f"Building Envoy Gateway {versions.ENVOY_GATEWAY}", 300),
        Module(
            "gitops-health", f"Building Argo CD's health checks {versions.ARGO_CD} and kstatus", 300
        ),
        Module("containerd", f"Building containerd {versions.CONTAINERD}", 60),
        Module("node-tools", f"Building kind {versions.KIND} and network plugins", 30),
        Module("workflows", f"Building actionlint {versions.ACTIONLINT}", 15),
        Module("pause", "Building the pause program", 2),
    )
}


def _kubernetes(name: str, *, on_host: bool = False) -> Program:
    package = f"k8s.io/kubernetes/cmd/{name}"
    return Program(name, "kubernetes", package, versions.KUBERNETES, on_host)


def _plugin(kind: str, name: str) -> Program:
    package = f"github.com/containernetworking/plugins/plugins/{kind}/{name}"
    return Program(name, "node-tools", package, versions.CNI_PLUGINS)


def _containerd(name: str) -> Program:
    package = f"github.com/containerd/containerd/v2/cmd/{name}"
    return Program(name, "containerd", package, versions.CONTAINERD)


PROGRAMS = {
    program.name: program
    for program in (
        _kubernetes("kube-apiserver", on_host=True),
        _kubernetes("kube-controller-manager", on_host=True),
        _kubernetes("kubectl", on_host=True),
        _kubernetes("kubeadm", on_host=True),
        _kubernetes("kube-scheduler", on_host=True),
        _kubernetes("kube-proxy"),
        _kubernetes("kubelet"),
        Program("etcd", "kubernetes", "go.etcd.io/etcd/server/v3", versions.ETCD, on_host=True),
        Program("coredns", "kubernetes", f"{OUR_MODULE}/kubernetes/coredns", COREDNS),
        Program("helm", "kubernetes", "helm.sh/helm/v4/cmd/helm", versions.HELM, on_host=True),
        Program("kwok", "kubernetes", "sigs.k8s.io/kwok/cmd/kwok", versions.KWOK, on_host=True),
        Program(
            "metrics-server",
            "kubernetes",
            "sigs.k8s.io/metrics-server/cmd/metrics-server",
            versions.METRICS_SERVER,
        ),
        Program(
            "envoy-gateway",
            "envoy-gateway",
            "github.com/envoyproxy/gateway/cmd/envoy-gateway",
            versions.ENVOY_GATEWAY,
        ),
        _containerd("containerd"),
        _containerd("containerd-shim-runc-v2"),
        _containerd("ctr"),
        Program("kind", "node-tools", "sigs.k8s.io/kind", versions.KIND, on_host=True),
        _plugin("main", "bridge"),
        _plugin("main", "loopback"),
        _plugin("main", "ptp"),
        _plugin("ipam", "host-local"),
        _plugin("meta", "portmap"),
        Program(
            "gitops-health",
            "gitops-health",
            f"{OUR_MODULE}/gitops-health",
            GITOPS_HEALTH,
            on_host=True,
        ),
        Program("pause", "pause", f"{OUR_MODULE}/pause", versions.PAUSE),
        Program(
            "actionlint",
            "workflows",
            "github.com/rhysd/actionlint/cmd/actionlint",
            versions.ACTIONLINT,
            on_host=True,
        ),
    )
}

CLIENTS = ("kind", "kubectl", "helm")
NETWORK_PLUGINS = ("bridge", "loopback", "ptp", "host-local", "portmap")


def ensure_programs(settings: Settings, names: Iterable[str]) -> dict[str, Path]:
    """Return the paths of programs, building those that the cache lacks."""
    wanted = [_program(name) for name in dict.fromkeys(names)]
    missing: dict[str, list[Program]] = defaultdict(list)
    for program in wanted:
        if not binary(settings, program).exists():
            missing[program.module].append(program)
    if missing:
        _build_side_by_side(settings, missing)
    for program in wanted:
        _publish(settings, program)
    return {program.name: binary(settings, program) for program in wanted}


def binary(settings: Settings, program: Program) -> Path:
    """Where a program's binary is kept."""
    return settings.cache / "tools" / f"{program.name}-{program.version}"


def source_folder(module: str, path: str) -> Path:
    """Return where a Go module's own files are, which the build brought to this machine."""
    folder = MODULES[module].folder
    env = _go_environment()
    run(_go(), "-C", folder, "mod", "download", path, log="go", env=env)
    return Path(capture(_go(), "-C", folder, "list", "-m", "-f", "{{.Dir}}", path, env=env))


def _program(name: str) -> Program:
    if name not in PROGRAMS:
        raise ClusterError(f"There is no tool {name!r}; there are: {', '.join(sorted(PROGRAMS))}.")
    return PROGRAMS[name]


def _build_side_by_side(settings: Settings, missing: dict[str, list[Program]]) -> None:
    _go()
    at_once = min(AT_ONCE, os.cpu_count() or 1)
    with ThreadPoolExecutor(at_once) as pool:
        builds = [
            pool.submit(_build, settings, module, missing[module.name])
            for module in MODULES.values()
            if module.name in missing
        ]
    for build in builds:
        build.result()


def _build(settings: Settings, module: Module, programs: list[Program]) -> None:
    title = _title(module, programs)
    with (
        step(title, module.expected_seconds),
        scratch_folder(settings.cache / "tools") as folder,
    ):
        _go_build(module, programs, folder)
        for program in programs:
            (folder / program.built_as).rename(binary(settings, program))


def _go_build(module: Module, programs: list[Program], folder: Path) -> None:
    # The linker would throw the debug information away; not to make it saves an eighth of the time.
    compiler = "-gcflags=all=-dwarf=false"
    flags = ("-trimpath", compiler, f"-ldflags={_linker_flags(module)}", "-o", f"{folder}/")
    packages = (program.package for program in programs)
    command = (_go(), "-C", str(module.folder), "build", *flags, *packages)
    run(*command, log=f"build-{module.name}", env=_go_environment())


def _title(module: Module, programs: list[Program]) -> str:
    if len(programs) > NAMED_AT_MOST:
        return module.title
    return f"Building {', '.join(f'{program.name} {program.version}' for program in programs)}"


def _linker_flags(module: Module) -> str:
    flags = "-s -w"
    if module.name == "kubernetes":
        # Without these the version reads v0.0.0, which kubeadm refuses.
        major, minor, _ = versions.KUBERNETES.removeprefix("v").split(".")
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            flags += f" -X {package}.gitVersion={versions.KUBERNETES}"
            flags += f" -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
            flags += f" -X {package}.gitTreeState=clean"
    return flags


def _go() -> str:
    found = which("go")
    if not found:
        raise ClusterError(GO_WANTED)
    return found


def _go_environment() -> dict[str, str]:
    # Static binaries, which run on the host and in images from scratch alike.
    return {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}


def _publish(settings: Settings, program: Program) -> None:
    if program.on_host:
        link_atomically(settings.bin / program.name, binary(settings, program))
