"""The Docker engine: the one at hand, else one of our own from Debian's package."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import firewall, runtime_wrapper
from .errors import ClusterError
from .files import write_atomically
from .packages import ENGINE, need_packages
from .progress import step
from .settings import PROJECT, Settings
from .shell import attempt, environment, run, succeeds, which

# In /run: socket paths must be short, and what is in there ends with the machine, like the engine.
RUN_FOLDER = Path("/run") / PROJECT
SOCKET = RUN_FOLDER / "docker.sock"
PID_FILE = RUN_FOLDER / "docker.pid"
EXEC_ROOT = RUN_FOLDER / "exec"
CONTAINERD_PID_FILE = EXEC_ROOT / "containerd" / "containerd.pid"
OUR_HOST = f"unix://{SOCKET}"
OUR_BRIDGE = "docker0"

CAP_SYS_RESOURCE_BIT = 24
START_SECONDS = 60
STOP_SECONDS = 60


@dataclass(frozen=True)
class Engine:
    """An engine that answers."""

    ours: bool

    @property
    def env(self) -> dict[str, str]:
        """What programs need in their environment to reach it."""
        # The classic builder is in every engine; BuildKit's client is a plugin that may be missing.
        builder = {"DOCKER_BUILDKIT": "0"} if self.ours else {}
        return {"DOCKER_HOST": OUR_HOST, **builder} if self.ours else builder


def ensure_engine(settings: Settings) -> Engine:
    """Find the engine at hand, or start our own."""
    return find_engine() or _provide_engine(settings)


def _provide_engine(settings: Settings) -> Engine:
    _require_root()
    need_packages(ENGINE)
    # Where systemd runs, the package has started one: a second beside it would share its bridge and
    # its chains of the packet filter, and the next run would find the other.
    if engine := find_engine():
        return engine
    with step("Starting a Docker engine", expected=3):
        _start(settings)
    return Engine(ours=True)


def find_engine() -> Engine | None:
    """Return the engine that answers now, if any."""
    at_hand = os.environ.get("DOCKER_HOST")
    if at_hand != OUR_HOST and _answers({}):
        return Engine(ours=False)
    return Engine(ours=True) if SOCKET.exists() and _answers({"DOCKER_HOST": OUR_HOST}) else None


def revive_dead_engine(settings: Settings) -> None:
    """Start our engine again if it was killed: only it can end the containers that it left."""
    if RUN_FOLDER.exists() and os.geteuid() == 0 and find_engine() is None:
        with step("Restarting the Docker engine, which was killed", expected=3):
            _start(settings)


def stop_our_engine(settings: Settings) -> None:
    """Stop the engine that we started, if it runs, and take away what it leaves on the machine."""
    if not RUN_FOLDER.exists():
        return
    with step("Stopping the Docker engine", expected=3):
        if (pid := _running_pid(PID_FILE, "dockerd")) is not None:
            _end(pid)
        _unmount_leftovers(settings)
        _remove_bridges()
        firewall.remove_engine_rules(_noted_policy(settings))
        shutil.rmtree(RUN_FOLDER, ignore_errors=True)


def _noted_policy(settings: Settings) -> Path:
    return settings.cache / "docker" / "forward-policy"


def _answers(env: dict[str, str]) -> bool:
    return succeeds("docker", "info", env=env, timeout=10)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise ClusterError(
            "No Docker engine responds: start Docker, join the group `docker`, or "
            "run this as root to install an engine from Debian's packages."
        )


def _start(settings: Settings) -> None:
    _forget_dead_engine()
    firewall.note_forward_policy(_noted_policy(settings))
    log = settings.logs / "dockerd.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        process = subprocess.Popen(
            _command(settings),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=environment(),
            start_new_session=True,
        )
    _wait_for_answer(process, log)


def _command(settings: Settings) -> list[str]:
    command = [
        which("dockerd") or "dockerd",
        f"--data-root={settings.cache / 'docker' / 'data'}",
        f"--exec-root={EXEC_ROOT}",
        f"--host={OUR_HOST}",
        f"--pidfile={PID_FILE}",
        "--storage-driver=overlay2",
        "--log-level=warn",
    ]
    if lacks_resource_capability():
        wrapper = _install_wrapper(settings)
        command += [f"--add-runtime=softened={wrapper}", "--default-runtime=softened"]
    return command


def lacks_resource_capability() -> bool:
    """Say whether root lacks CAP_SYS_RESOURCE on this machine, and so any engine here."""
    return bounds_out_resources(Path("/proc/self/status").read_text())


def bounds_out_resources(status: str) -> bool:
    """Say whether a process with this status could never have CAP_SYS_RESOURCE, not even as root.

    What it has now says nothing: without being root it has no capability, on any machine.
    """
    found = re.search(r"^CapBnd:\s*(\w+)", status, re.MULTILINE)
    return found is not None and not int(found.group(1), 16) >> CAP_SYS_RESOURCE_BIT & 1


def _install_wrapper(settings: Settings) -> Path:
    # A copy in the cache, so that containers outlive the clone that made them.
    path = settings.cache / "docker" / "runtime-wrapper"
    source = Path(runtime_wrapper.__file__).read_text()
    write_atomically(path, f"#!{sys.executable} -IS\n{source}", mode=0o755)
    return path


def _wait_for_answer(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers({"DOCKER_HOST": OUR_HOST}):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ClusterError(f"The Docker engine did not start; its log is {log}.")
        time.sleep(0.3)


def _forget_dead_engine() -> None:
    """Remove what would keep a new engine from starting after one that was killed.

    The rest of what that one left is kept: from it the new engine finds and ends its containers.
    """
    if (pid := _running_pid(PID_FILE, "dockerd")) is not None:
        _end(pid)
    # A dead process that nothing reaps would pass for a running one with the engine.
    if _running_pid(CONTAINERD_PID_FILE, "containerd") is None:
        CONTAINERD_PID_FILE.unlink(missing_ok=True)
    for leftover in (PID_FILE, SOCKET):
        leftover.unlink(missing_ok=True)
    RUN_FOLDER.mkdir(parents=True, exist_ok=True)


def _running_pid(file: Path, name: str) -> int | None:
    """Return the process id in a file, if that process lives and is what it should be."""
    try:
        pid = int(file.read_text())
        found = Path(f"/proc/{pid}/comm").read_text().strip()
    except (OSError, ValueError):
        return None
    return pid if found == name and not _is_zombie(pid) else None


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while Path(f"/proc/{pid}").exists() and not _is_zombie(pid):
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.1)


def _is_zombie(pid: int) -> bool:
    # Where nothing adopts orphans, an ended engine stays in the process table: it is gone anyway.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _unmount_leftovers(settings: Settings) -> None:
    ours = (str(settings.cache / "docker") + "/", str(RUN_FOLDER) + "/")
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(ours)]):
        attempt("umount", "--lazy", mount)


def _remove_bridges() -> None:
    for interface in engine_bridges():
        attempt("ip", "link", "delete", interface)


def engine_bridges() -> list[str]:
    """Return the network bridges that engines make."""
    names = [entry.name for entry in Path("/sys/class/net").iterdir()]
    return [name for name in names if name == OUR_BRIDGE or name.startswith("br-")]


def image_exists(engine: Engine, image: str) -> bool:
    """Say whether the engine holds an image."""
    return succeeds("docker", "image", "inspect", image, env=engine.env)


def build_image(engine: Engine, image: str, context: Path, log: str, **arguments: str) -> None:
    """Build an image from a folder with a Dockerfile."""
    flags = [f"--build-arg={name.upper()}={value}" for name, value in arguments.items()]
    run("docker", "build", "--tag", image, *flags, context, log=log, env=engine.env)
