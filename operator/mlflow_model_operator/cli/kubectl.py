"""kubectl, called as a program: it knows contexts, credentials and namespaces."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from mlflow_model_operator.api import names

RESOURCE = f"{names.PLURAL}.{names.GROUP}"
REQUEST_TIMEOUT = 20.0  # seconds
PROCESS_TIMEOUT = 60.0  # a plugin for credentials may ask a person

Json = dict[str, Any]


class CommandError(Exception):
    """A command can't do what it was asked for; the message is one for people."""


class MissingResource(CommandError):
    """The cluster has no such object."""


class Kubectl:
    """kubectl with the flags that say which cluster and namespace."""

    def __init__(self, flags: Sequence[str] = (), program: str = "kubectl") -> None:
        self.flags = flags
        self.program = program

    def resource(self, name: str) -> Json:
        """An MLflowModelDeployment. Raises MissingResource."""
        return self._json("get", RESOURCE, name)

    def objects(self, kinds: str, *selection: str) -> list[Json]:
        """The objects of some kinds, like "deployments,services"."""
        items: list[Json] = self._json("get", kinds, *selection)["items"]
        return items

    def annotate(self, name: str, key: str, value: str) -> None:
        """Sets an annotation of an MLflowModelDeployment."""
        self.run("annotate", RESOURCE, name, "--overwrite", f"{key}={value}")

    def run(self, *arguments: str, given: str | None = None) -> str:
        """kubectl's output. Raises CommandError with what it says where it fails."""
        command = [self.program, *arguments, *self.flags]
        try:
            done = subprocess.run(
                [*command, f"--request-timeout={REQUEST_TIMEOUT:g}s"],
                input=given,
                capture_output=True,
                text=True,
                timeout=PROCESS_TIMEOUT,
                check=False,
            )
        except FileNotFoundError:
            raise CommandError(
                "kubectl is not in PATH: install it, see https://kubernetes.io/docs/tasks/tools/"
            ) from None
        except subprocess.TimeoutExpired:
            raise CommandError(f"kubectl did not end within {PROCESS_TIMEOUT:g} s") from None
        if done.returncode == 0:
            return done.stdout
        message = done.stderr.strip() or f"kubectl ended with {done.returncode}"
        raise (MissingResource if "(NotFound)" in message else CommandError)(message)

    def _json(self, *arguments: str) -> Json:
        parsed: Json = json.loads(self.run(*arguments, "--output=json"))
        return parsed
