"""Puts the model's packages before the image's own."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path


def use_packages(folder: Path) -> None:
    """Makes `folder` the first of this process' site-packages, and of its children's.

    Must come before the first import of anything but the standard library.
    """
    if not folder.is_dir():
        return
    # After the standard library, as any site-packages: some packages bear its modules' names.
    places = [i for i, entry in enumerate(sys.path) if _is_site_packages(entry)]
    sys.path.insert(places[0] if places else len(sys.path), str(folder))
    site.addsitedir(str(folder))  # its .pth files; it is on the path already
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [inherited, str(folder)]))


def _is_site_packages(entry: str) -> bool:
    return Path(entry).name in ("site-packages", "dist-packages")
