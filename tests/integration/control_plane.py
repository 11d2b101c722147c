"""A real Kubernetes API server with its etcd, as plain processes on this machine.

No node and no container is needed, and it is ready in about three seconds. Objects are stored,
defaulted, validated and watched as in any cluster; nothing runs.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = ("kube-apiserver", "etcd", "kubectl")
CRD_FOLDER = REPOSITORY / "crds"
READY_WITHIN = 60.0  # seconds
Ending = Callable[[subprocess.Popen[bytes]], None]


class NotReady(Exception):
    """A process did not come up; the message holds the end of its log."""


def tools(*names: str) -> Path:
    """The folder of these programs, built at the first call ever."""
    command = [sys.executable, "-m", "dev.cluster", "tools", *names]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip().splitlines()[-1])


@dataclass
class ApiServer:
    """A running API server, with an administrator's way in."""

    url: str
    folder: Path
    kubeconfig: Path
    bin: Path
    http: requests.Session = field(repr=False)

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> requests.Response:
        """One request; the response is not checked."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        return self.http.request(method, f"{self.url}{path}", data=data, headers=headers)

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        """kubectl's output (both streams), with `given` as its standard input.

        Raises AssertionError with that output where kubectl fails and `check` holds.
        """
        done = subprocess.run(
            [self.bin / "kubectl", "--kubeconfig", self.kubeconfig, *arguments],
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={**os.environ, "HOME": str(self.folder)},  # its discovery cache
        )
        assert done.returncode == 0 or not check, f"kubectl {arguments}: {done.stdout}"
        return done.stdout

    def make_namespace(self, prefix: str = "test") -> str:
        """Makes a namespace of a new name and returns that."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}}).raise_for_status()
        return name

    def install_crds(self, *files: Path) -> None:
        """Applies the files of CustomResourceDefinitions and waits until they are served."""
        for file in files:
            for definition in yaml.safe_load_all(file.read_text(encoding="utf-8")):
                self._install(definition)

    def _install(self, definition: dict[str, Any]) -> None:
        name = definition["metadata"]["name"]
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        applied = self.request(
            "PATCH",
            f"{path}?fieldManager=tests&force=true&fieldValidation=Strict",
            definition,
            "application/apply-patch+yaml",
        )
        assert applied.ok, f"CRD {name}: {applied.text}"
        spec = definition["spec"]
        served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        wait_for(lambda: self.request("GET", served).ok, f"{served} to be served")


def wait_for(holds: Callable[[], bool], what: str, within: float = READY_WITHIN) -> None:
    """Waits until the condition holds; raises NotReady naming it after the deadline."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            raise NotReady(f"Waited {within:g} s for {what}.")
        time.sleep(0.05)


@contextmanager
def api_server(folder: Path, binaries: Path, flags: Sequence[str] = ()) -> Iterator[ApiServer]:
    """Starts etcd and an API server in the folder, and stops both at the end."""
    with ExitStack() as stack:
        etcd_url = f"http://127.0.0.1:{free_port()}"
        peer_url = f"http://127.0.0.1:{free_port()}"
        etcd_command = _etcd(binaries, folder, etcd_url, peer_url)
        etcd = stack.enter_context(process("etcd", etcd_command, folder))
        _wait_until_healthy(etcd, f"{etcd_url}/health", requests.Session())

        port, token = free_port(), secrets.token_hex(16)
        _write_credentials(folder, port, token)
        command = [*_kube_apiserver(binaries, folder, etcd_url, port), *flags]
        server = stack.enter_context(process("kube-apiserver", command, folder))
        http = stack.enter_context(requests.Session())
        http.trust_env = False  # a proxy or a CA bundle of this machine is not for 127.0.0.1
        http.headers["Authorization"] = f"Bearer {token}"
        authority = folder / "certificates" / "apiserver.crt"  # signs itself
        http.verify = str(authority)
        _wait_until(server, authority.exists)
        _wait_until_healthy(server, f"https://127.0.0.1:{port}/readyz", http)
        yield ApiServer(f"https://127.0.0.1:{port}", folder, folder / "kubeconfig", binaries, http)


@contextmanager
def controller_manager(server: ApiServer, flags: Sequence[str] = ()) -> Iterator[None]:
    """Runs Kubernetes' own controllers (Deployments, endpoints, garbage collection, …) too."""
    command: list[str | Path] = [
        server.bin / "kube-controller-manager",
        f"--kubeconfig={server.kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={free_port()}",
        f"--cert-dir={server.folder / 'controller-manager'}",
        "--leader-elect=false",
        "--horizontal-pod-autoscaler-sync-period=5s",
        *flags,
    ]
    with process("kube-controller-manager", command, server.folder) as running:
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        _wait_until(running, lambda: server.request("GET", account).ok)
        yield


@dataclass
class Running:
    """A started process and where it logs."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def failure(self, what: str) -> NotReady:
        """The error that says what happened, with the end of the log."""
        tail = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        return NotReady(f"{self.name} {what}. The end of its log:\n{tail}")


@contextmanager
def process(
    name: str,
    command: Sequence[str | Path],
    folder: Path,
    ends: Ending = subprocess.Popen.terminate,
) -> Iterator[Running]:
    """Runs a program until the end of the block, or of this process however it ends."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [*_ends_with_parent(), *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=ends is end_session,
        )
    try:
        yield Running(name, popen, log)
    finally:
        ends(popen)
        try:
            popen.wait(timeout=10)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


def end_session(popen: subprocess.Popen[bytes]) -> None:
    """Ends a program with all that it has started, for one that leaves its children behind."""
    with suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGTERM)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _ends_with_parent() -> list[str]:
    """The prefix that has the kernel end a program when the test run is killed."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def _wait_until(running: Running, holds: Callable[[], bool], within: float = READY_WITHIN) -> None:
    deadline = time.monotonic() + within
    while not holds():
        if running.popen.poll() is not None:
            raise running.failure(f"ended with exit code {running.popen.returncode}")
        if time.monotonic() > deadline:
            raise running.failure(f"was not ready within {within:g} s")
        time.sleep(0.05)


def _wait_until_healthy(
    running: Running, url: str, http: requests.Session, within: float = READY_WITHIN
) -> None:
    def healthy() -> bool:
        try:
            return http.get(url, timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    _wait_until(running, healthy, within)


def _etcd(binaries: Path, folder: Path, url: str, peer_url: str) -> list[str | Path]:
    return [
        binaries / "etcd",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
        "--unsafe-no-fsync",  # the data need not outlive the test
    ]


def _kube_apiserver(binaries: Path, folder: Path, etcd_url: str, port: int) -> list[str | Path]:
    return [
        binaries / "kube-apiserver",
        f"--etcd-servers={etcd_url}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certificates'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'service-accounts.key'}",
        f"--service-account-signing-key-file={folder / 'service-accounts.key'}",
        "--disable-admission-plugins=ServiceAccount",  # nobody makes the default accounts
        "--endpoint-reconciler-type=none",
    ]


def _write_credentials(folder: Path, port: int, token: str) -> None:
    """An administrator's token and kubeconfig, and the key that signs service accounts' tokens."""
    (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    _write_key(folder / "service-accounts.key")
    cluster = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority": str(folder / "certificates" / "apiserver.crt"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))


def _write_key(path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
