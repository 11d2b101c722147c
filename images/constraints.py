"""Prints the pins of a lock file as constraints that hold from Python 3.11 on only.

    python images/constraints.py requirements.lock

What the tests run with is what the images have. For an older Python, other versions are picked.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

SINCE = "python_version >= '3.11'"
_PIN = re.compile(r"^([a-z0-9._-]+==[^ ;]+)(?: ; (.+?))?(?: \\)?$", re.MULTILINE)


def constraints(lock: str) -> Iterator[str]:
    """A line for each pin, without hashes."""
    for pin, marker in _PIN.findall(lock):
        yield f"{pin} ; ({marker}) and {SINCE}" if marker else f"{pin} ; {SINCE}"


if __name__ == "__main__":
    print("\n".join(constraints(Path(sys.argv[1]).read_text(encoding="utf-8"))))
