"""What runs the demo and the cluster stands without the tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.cluster.settings import REPOSITORY

SOURCES = sorted((REPOSITORY / "dev").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_dev_imports_no_tests(path: Path) -> None:
    imported = set(_imported(path))
    assert not imported & {"e2e", "tests"}, f"{path} imports tests; move what it needs to dev/"


def _imported(path: Path) -> Iterator[str]:
    """The top-level packages that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]
