"""All that the operator logs during the tests, also by pods that do not outlive them."""

from __future__ import annotations

import contextlib
import re
import subprocess
import tempfile
import threading
from pathlib import Path

from urllib3.exceptions import HTTPError

from dev import installation, kube
from dev.kube import DynamicApiError

TROUBLE = re.compile(r"\b(ERROR|CRITICAL)\b|^Traceback")
LOOK_SECONDS = 1.0


class OperatorLog:
    """Follows the log of each pod of the operator from its start to its end."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="operator-log-"))
        self._followers: dict[str, subprocess.Popen[bytes]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_for_pods, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends following; what was logged until now is there."""
        self._stop.set()
        self._thread.join()
        for follower in self._followers.values():
            follower.terminate()
            follower.wait()

    @property
    def lines(self) -> list[str]:
        """All lines, pod by pod."""
        files = sorted(self._folder.iterdir())
        return [line for file in files for line in file.read_text(errors="replace").splitlines()]

    @property
    def troubles(self) -> list[str]:
        """The lines that say that the operator has met an error of its own."""
        return [line for line in self.lines if TROUBLE.search(line)]

    def _look_for_pods(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            # A test may restart the API server.
            with contextlib.suppress(HTTPError, DynamicApiError):
                for pod in kube.get_all(kube.POD, installation.NAMESPACE, installation.SELECTOR):
                    self._follow(pod)

    def _follow(self, pod: kube.KubeObject) -> None:
        # A container that was restarted in its pod has a new log.
        statuses = pod.get("status", {}).get("containerStatuses", [])
        if not statuses or not any(status.get("started") for status in statuses):
            return
        name = pod["metadata"]["name"]
        log = f"{name}-{statuses[0]['restartCount']}.log"
        if log not in self._followers:
            with (self._folder / log).open("wb") as sink:
                command = ["kubectl", "logs", "--follow", name]
                self._followers[log] = subprocess.Popen(
                    [*command, f"--namespace={installation.NAMESPACE}"],
                    stdout=sink,
                    stderr=subprocess.DEVNULL,
                )
