"""The installation as docs/install.md has it, command by command, on a cluster.

    make test-docs                               on the project's own cluster, by `make build`
    make test-docs CLUSTER=current REGISTRY=…    on a cluster of yours, by `make push`

It removes the operator that is there, and at the end its own. Blocks of the other way are not run,
nor those with a marker that says why. The other pages are read by test_docs_pages.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.pages.installation import INSTALL, uninstall
from e2e.pages.shell import Shell, bash, check_output, run_block, way_to_images
from tests.unit.docs.commands import Block, blocks

pytestmark = pytest.mark.docs


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One shell for all blocks, as for somebody who reads from top to bottom."""
    uninstall()
    with bash(tmp_path_factory.mktemp("docs") / "log") as opened:
        yield opened


def in_order() -> list[Block]:
    return [block for block in blocks(INSTALL) if block.kind == "run" and not block.runner]


@pytest.mark.parametrize("block", in_order(), ids=lambda block: f"line-{block.line}")
def test_block(block: Block, shell: Shell) -> None:
    if block.about not in (way_to_images(), "both"):
        pytest.skip(f"the other way to the images: {block.about}")
    if shell.failed:
        pytest.skip("an earlier block has failed")
    shell.failed = True
    output = run_block(block, shell)
    shell.failed = False
    check_output(block, output)
    if "urllib" in block.script:
        assert "[" in output, output  # predictions: a list
