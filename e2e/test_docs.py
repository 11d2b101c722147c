"""The installation as docs/install.md has it, command by command, on a cluster.

    make test-docs                               on the project's own cluster, by `make build`
    make test-docs CLUSTER=current REGISTRY=…    on a cluster of yours, by `make push`

It removes the operator that is there, and at the end its own. Blocks of the other way are not run,
nor those with a marker that says why.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.cluster.settings import REPOSITORY, read_settings
from tests.unit.docs.commands import Block, blocks

pytestmark = pytest.mark.docs

INSTALL = REPOSITORY / "docs" / "install.md"
EXAMPLE_REGISTRIES = ("registry.example.com/team", "local.example.com/mlflow")
BLOCK_SECONDS = 1200  # an image for each Python is built in one of them
NAMESPACES = ("mlflow-model-operator", "mlflow", "models")


@pytest.fixture(scope="module")
def way() -> str:
    """By a registry that the cluster pulls from, or by loading images into its nodes."""
    return "push" if os.environ.get("REGISTRY") else "build"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One shell for all blocks, as for somebody who reads from top to bottom."""
    uninstall()
    with bash(tmp_path_factory.mktemp("docs") / "log") as opened:
        yield opened


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
def bash(log: Path) -> Iterator[Shell]:
    """A bash in the repository, whose background jobs end with it."""
    environment = {
        **os.environ,
        "KIND_CLUSTER_NAME": read_settings().cluster_name,
        # Base images for other Pythons come from a registry that may be out of reach.
        # Empty where make exports it without a value.
        "PYTHON_VERSIONS": os.environ.get("PYTHON_VERSIONS") or "3.11",
    }
    with subprocess.Popen(
        ("bash",),
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield Shell(process, log)
        finally:
            os.killpg(process.pid, 15)


def uninstall() -> None:
    """What an earlier installation has left, by the docs' own commands; absent is fine."""
    for command in (
        ("kubectl", "delete", "mmd", "--all", "--all-namespaces", "--timeout=2m"),
        ("helm", "uninstall", NAMESPACES[0], f"--namespace={NAMESPACES[0]}", "--wait"),
        ("kubectl", "delete", "crd", "mlflowmodeldeployments.mlflow-model-operator.dev"),
        ("kubectl", "delete", "namespace", *NAMESPACES, "--ignore-not-found", "--timeout=3m"),
    ):
        subprocess.run(command, check=False, capture_output=True)


def in_order() -> list[Block]:
    return [block for block in blocks(INSTALL) if block.kind == "run"]


@pytest.mark.parametrize("block", in_order(), ids=lambda block: f"line-{block.line}")
def test_block(block: Block, shell: Shell, way: str) -> None:
    if block.about not in (way, "both"):
        pytest.skip(f"the other way to the images: {block.about}")
    if shell.failed:
        pytest.skip("an earlier block has failed")
    shell.failed = True
    output = shell.run(with_registry(block.script))
    shell.failed = False
    if "invocations" in block.script:
        assert "[" in output, output  # predictions: a list
    if "helm test" in block.script:
        assert "Succeeded" in output, output


def with_registry(script: str) -> str:
    """The test's registry instead of the reader's."""
    registry = os.environ.get("REGISTRY", "")
    for example in EXAMPLE_REGISTRIES:
        script = script.replace(f"REGISTRY={example}", f"REGISTRY={registry or example}")
    return script
