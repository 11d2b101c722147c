"""The commands of all pages but docs/install.md, as written, on a cluster: see e2e/test_docs.py.

Each page is read in a shell of its own, from top to bottom, after what it presumes was set up
(e2e/pages/presumed.py). The shell's folder looks like a clone of this repository.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev import kube
from dev.cluster.settings import REPOSITORY
from dev.traffic import gateway_url
from e2e.pages import wine
from e2e.pages.installation import INSTALL, uninstall
from e2e.pages.presumed import PAGES, SERVICE_PORT, Page, Reader
from e2e.pages.shell import bash, check_output, run_block, way_to_images
from tests.unit.docs.commands import Block, blocks

pytestmark = pytest.mark.docs

# What readers install with pip, and pip itself.
PROGRAMS = ("pip", "kubectl-mmd", "model_signing")
# What the pages leave in the cluster beside the installation.
LEFT_OVER = ("clusterrolebinding/issuer-discovery", "namespace/team-a")
SHARED = ("gateways", "shared")
# docs/install.md up to the tracking server and the first versions: the pages presume them.
FIRST_STEPS = ("make push", "make build", "dev/mlflow/server.yaml", "examples/wine.py")


@pytest.fixture(scope="module")
def images_and_versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The images, a tracking server, and versions 1 to 4 of `wine`; no operator yet."""
    remove()
    with bash(tmp_path_factory.mktemp("first") / "log") as shell:
        for block in blocks(INSTALL):
            if block.about in (way_to_images(), "both") and _is_first(block.script):
                run_block(block, shell)
        wine.register_newer_versions()
        shell.run(f"kubectl create namespace {wine.NAMESPACE}\n")
        yield  # the port of the tracking server is forwarded as long as this shell lives
    remove()


def _is_first(script: str) -> bool:
    return any(text in script for text in FIRST_STEPS)


def remove() -> None:
    """What the pages have left in the cluster."""
    uninstall()
    command = ("kubectl", "delete", "--ignore-not-found", "--timeout=2m", *LEFT_OVER)
    subprocess.run(command, check=False, capture_output=True)


@pytest.fixture(scope="module")
def readers(
    images_and_versions: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Reader]]:
    """The readers of the pages, by page; one at a time."""
    home = tmp_path_factory.mktemp("reader")
    environment = _environment(home)
    with ExitStack() as stack:
        yield _Readers(home, environment, stack)


class _Readers(dict[str, Reader]):
    """Ends the reading of a page when the next one begins."""

    def __init__(self, home: Path, environment: dict[str, str], stack: ExitStack) -> None:
        self.home = home
        self.environment = environment
        self.stack = stack

    def __missing__(self, page: str) -> Reader:
        self.stack.close()
        folder = self.home / page.replace("/", "-")
        folder.mkdir()
        _look_like_a_clone(folder)
        shell = self.stack.enter_context(bash(folder / "log", folder, self.environment))
        self[page] = Reader(shell, folder)
        return self[page]


def _look_like_a_clone(folder: Path) -> None:
    """What the commands write is not written into the repository."""
    for path in REPOSITORY.iterdir():
        if not path.name.startswith("."):
            (folder / path.name).symlink_to(path)


def _environment(home: Path) -> dict[str, str]:
    """The context's namespace, host names for curl, and Python programs of the reader's own."""
    kubeconfig = home / "kubeconfig"
    kubeconfig.write_text(kube.kubectl("config", "view", "--raw", "--flatten"))
    namespace = f"--namespace={wine.NAMESPACE}"
    kube.kubectl("config", "set-context", "--current", namespace, f"--kubeconfig={kubeconfig}")
    gateway = gateway_url().partition("//")[2]
    (home / ".curlrc").write_text(
        f'connect-to = "{wine.HOSTNAME}:80:{gateway}"\n'
        f'connect-to = "{wine.NAME}.{wine.NAMESPACE}:80:127.0.0.1:{SERVICE_PORT}"\n'
    )
    return {
        "KUBECONFIG": str(kubeconfig),
        "CURL_HOME": str(home),
        # What readers run is what they have installed.
        "PYTHONPATH": "",
        "MLFLOW_TRACKING_URI": wine.TRACKING_URI,
        "PATH": f"{_programs(home)}:{os.environ['PATH']}",
    }


def _programs(home: Path) -> Path:
    """Links to the programs of an environment that readers can install into."""
    own, folder = home / "python", home / "bin"
    subprocess.run((sys.executable, "-m", "venv", own), check=True)
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).symlink_to(own / "bin" / name)
    return folder


def in_order() -> list[tuple[Page, Block]]:
    """Each block that is run here."""
    return [
        (page, block)
        for page in PAGES
        for block in blocks(REPOSITORY / page.path)
        if block.kind == "run" and not block.runner
    ]


@pytest.mark.parametrize(
    ("page", "block"), in_order(), ids=lambda value: getattr(value, "path", None) or value.line
)
def test_block(page: Page, block: Block, readers: dict[str, Reader]) -> None:
    _skip_without(block.words[0])
    reader = readers[page.path]
    if reader.shell.failed:
        pytest.skip("an earlier block of the page has failed")
    reader.shell.failed = True
    if step := page.step_before(block):
        step(reader)
    check_output(block, run_block(block, reader.shell))
    reader.shell.failed = False


def _skip_without(needed: str) -> None:
    """Skips a block of the other way to the images, or one for which something is not there."""
    if needed in ("push", "build") and needed != way_to_images():
        pytest.skip(f"the other way to the images: {needed}")
    if needed == "gateway" and kube.get(kube.GATEWAY, SHARED[1], SHARED[0]) is None:
        pytest.skip("no Gateway gateways/shared in the cluster")
    if needed == "grpcurl" and shutil.which("grpcurl") is None:
        pytest.skip("no grpcurl on this machine")
