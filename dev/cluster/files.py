"""Writing files and folders so that an interrupted run leaves nothing half-done."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file that is either the old one or the whole new one."""
    with new_file(path) as draft:
        draft.write_text(text)
        draft.chmod(mode)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a draft to write, which takes the place of `path` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a folder beside its destination, so that a rename out of it is atomic."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".scratch-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def link_atomically(link: Path, target: Path) -> None:
    """Make `link` point to `target`, replacing what it pointed to."""
    link.parent.mkdir(parents=True, exist_ok=True)
    draft = link.with_name(f".{link.name}.{os.getpid()}.link")
    draft.unlink(missing_ok=True)
    draft.symlink_to(os.path.relpath(target, link.parent))
    draft.replace(link)


def fingerprint(*parts: str) -> str:
    """Name a set of inputs shortly, so that another set gets another name."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
