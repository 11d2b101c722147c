"""The shell in which a reader runs the commands of a page, from top to bottom."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dev.cluster.settings import REPOSITORY, read_settings
from tests.unit.docs.commands import Block

EXAMPLE_REGISTRIES = ("registry.example.com/team", "local.example.com/mlflow")
LOCAL_REGISTRY = "local.example.com/mlflow"
INTERRUPT_SECONDS = 3


class Shell:
    """A running bash, which gets one block after the other."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.failed = False

    def run(self, script: str) -> str:
        """Runs a block; returns what it printed. AssertionError if a command failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        start = self.log.stat().st_size if self.log.exists() else 0
        # Written first, for a command that reads standard input would read the rest of the block.
        file = self.log.with_name("block.sh")
        file.write_text(f"set -euo pipefail\n{script}", encoding="utf-8")
        self.process.stdin.write(f"source {file} >> {self.log} 2>&1 < /dev/null; echo done $?\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        output = self.log.read_bytes()[start:].decode(errors="replace")
        assert answer == "done 0", f"{answer or 'a command failed'}:\n{script}\n{output}"
        return output


@contextmanager
def bash(
    log: Path, folder: Path = REPOSITORY, environment: Mapping[str, str] | None = None
) -> Iterator[Shell]:
    """A bash in a folder, whose background jobs end with it."""
    with subprocess.Popen(
        ("bash",),
        cwd=folder,
        env={**os.environ, **_for_images(), **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield Shell(process, log)
        finally:
            os.killpg(process.pid, 15)


def _for_images() -> dict[str, str]:
    # Base images for other Pythons come from a registry that may be out of reach.
    # Empty where make exports it without a value.
    pythons = {"PYTHON_VERSIONS": os.environ.get("PYTHON_VERSIONS") or "3.11"}
    settings = read_settings()
    if settings.use_current_cluster:
        return pythons
    return {**pythons, "KIND_CLUSTER_NAME": settings.cluster_name}


def way_to_images() -> str:
    """By a registry that the cluster pulls from, or by loading images into its nodes."""
    return "push" if os.environ.get("REGISTRY") else "build"


def run_block(block: Block, shell: Shell) -> str:
    """Runs a block as its marker says; returns what it printed."""
    script = with_registry(block.script)
    if "interrupted" in block.words:
        limited = f"timeout --signal=INT {INTERRUPT_SECONDS} bash -c {shlex.quote(script)}"
        return shell.run(f"{limited} || test $? -eq 124\n")
    if "fails" not in block.words:
        return shell.run(script)
    output = shell.run(f"! {{\n{script}}}\n")
    assert block.printed in output, f"the page says:\n{block.printed}\nprinted was:\n{output}"
    return output


def with_registry(script: str) -> str:
    """The test's registry instead of the reader's."""
    registry = os.environ.get("REGISTRY", "")
    for example in EXAMPLE_REGISTRIES:
        script = script.replace(f"REGISTRY={example}", f"REGISTRY={registry or example}")
        script = script.replace(
            f"image.registry={example}", f"image.registry={registry or LOCAL_REGISTRY}"
        )
    return script


def check_output(block: Block, output: str) -> None:
    """What the commands must have printed to be of use to a reader."""
    if "invocations" in block.script and "curl" in block.script:
        assert '"predictions"' in output, output
    if "helm test" in block.script:
        assert "Succeeded" in output, output
