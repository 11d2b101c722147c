"""Up, down, clean: what each of them is, in order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import kind, nodeimage
from .addons import UPSTREAM_IMAGES, install_addons
from .baseimage import remove_scratch
from .binaries import CLIENTS, ensure_programs
from .engine import Engine, ensure_engine, find_engine, revive_dead_engine, stop_our_engine
from .envfile import write_env_file
from .errors import ClusterError
from .network import connect_nodes
from .progress import say, step
from .settings import Settings
from .shell import attempt


@dataclass(frozen=True)
class Plan:
    """The cluster that is wanted."""

    config: dict[str, Any]
    local_images: bool

    @property
    def fingerprint(self) -> str:
        """Its short name."""
        return kind.config_fingerprint(self.config)


def up(settings: Settings, with_nodes: Callable[[], None] = lambda: None) -> None:
    """Make sure that the cluster is there, is the one asked for, and works.

    `with_nodes` is called once it has nodes, beside what else is to be done then.
    """
    if settings.use_current_cluster:
        _use_current_cluster(settings)
        with_nodes()
        return
    remove_scratch(settings)
    engine = ensure_engine(settings)
    plan = _plan(settings, engine)
    if _is_up(settings, engine, plan):
        say(f"The cluster {settings.cluster_name} is up.")
        with_nodes()
    else:
        _create(settings, engine, plan, with_nodes)
    write_env_file(settings, engine, settings.kubeconfig)
    say(f"To use it in a shell: source {_shown(settings.env_file)}")


def down(settings: Settings) -> None:
    """Remove the cluster; the engine and all that was built stay."""
    if settings.use_current_cluster:
        say("CLUSTER=current: nothing is removed, because this project did not create the cluster.")
        return
    engine = find_engine()
    if engine is not None:
        _delete(settings, engine)
    _forget(settings)


def clean(settings: Settings) -> None:
    """Stop and remove everything that was started; what was built stays in the cache."""
    revive_dead_engine(settings)
    down(settings)
    engine = find_engine()
    if engine is not None:
        attempt("docker", "rm", "--force", nodeimage.IMPORTER, env=engine.env)
        kind.delete_network(engine)
    stop_our_engine(settings)
    remove_scratch(settings)
    shutil.rmtree(settings.state, ignore_errors=True)


def status(settings: Settings) -> int:
    """Say whether the cluster is up."""
    engine = find_engine()
    if engine is None:
        say("No Docker engine responds.")
        return 1
    say(f"Docker engine: {'started by this project' if engine.ours else 'existing'}.")
    if not _kind_is_there(settings) or not kind.cluster_exists(settings, engine):
        say(f"There is no cluster {settings.cluster_name}.")
        return 1
    complete = kind.noted_fingerprint(settings, engine) is not None
    say(f"The cluster {settings.cluster_name} is {'up' if complete else 'not complete'}.")
    return 0 if complete else 1


def load(settings: Settings, images: list[str]) -> None:
    """Copy images into the cluster's nodes."""
    engine = ensure_engine(settings)
    ensure_programs(settings, ("kind",))
    with step(f"Loading {', '.join(images)} into the cluster", expected=10):
        kind.load_images(settings, engine, images)


def _plan(settings: Settings, engine: Engine) -> Plan:
    upstream = nodeimage.upstream_node_image(settings, engine, UPSTREAM_IMAGES)
    image = upstream or nodeimage.ensure_local_node_image(settings, engine)
    ensure_programs(settings, CLIENTS)
    local = upstream is None
    return Plan(kind.cluster_config(settings, image, own_network_plugin=local), local_images=local)


def _is_up(settings: Settings, engine: Engine, plan: Plan) -> bool:
    if not kind.cluster_exists(settings, engine):
        return False
    return kind.noted_fingerprint(settings, engine) == plan.fingerprint


def _create(settings: Settings, engine: Engine, plan: Plan, with_nodes: Callable[[], None]) -> None:
    kind.require_free_ports(settings, engine)
    if kind.cluster_exists(settings, engine):
        say("The existing cluster is incomplete, does not respond, or has other settings.")
        _delete(settings, engine)
    nodes = "1 node" if settings.nodes == 1 else f"{settings.nodes} nodes"
    with step(f"Creating the kind cluster {settings.cluster_name} with {nodes}", expected=30):
        kind.create_cluster(settings, engine, plan.config)
        if plan.local_images:
            connect_nodes(settings, engine)
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(with_nodes)
        install_addons(settings, local_images=plan.local_images)
    beside.result()
    kind.note_fingerprint(settings, plan.fingerprint)


def _delete(settings: Settings, engine: Engine) -> None:
    if _kind_is_there(settings) and kind.cluster_exists(settings, engine):
        with step(f"Removing the cluster {settings.cluster_name}", expected=3):
            kind.delete_cluster(settings, engine)


def _kind_is_there(settings: Settings) -> bool:
    return (settings.bin / "kind").exists()


def _forget(settings: Settings) -> None:
    for path in (settings.kubeconfig, settings.env_file, settings.state / "kind.json"):
        path.unlink(missing_ok=True)


def _use_current_cluster(settings: Settings) -> None:
    tools = ensure_programs(settings, ("kubectl", "helm"))
    with step("Checking the current cluster"):
        answer = attempt(tools["kubectl"], "get", "--raw", "/readyz", timeout=20)
    if answer.returncode != 0:
        raise ClusterError(
            f"CLUSTER=current, but that cluster does not respond: {answer.stderr.strip()}"
        )
    write_env_file(settings, find_engine(), _current_kubeconfig())


def _current_kubeconfig() -> Path:
    return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
