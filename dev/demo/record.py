"""What `kubectl` shows while the demo runs, kept as a page of documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from dev.kube import run

PAGE = """# Demo output

Recorded by `python -m dev.demo --record docs/demo-output.md`, from a run on a kind cluster.

```console
$ make demo
{transcript}
```
"""
SECTION = """
## {title}

```console
$ {command}
{output}
```
"""


@dataclass
class Snapshots:
    """Commands and what they printed at one moment of the demo."""

    sections: list[tuple[str, str, str]] = field(default_factory=list)

    def take(self, title: str, command: str) -> None:
        """Runs a command and keeps what it prints."""
        self.sections.append((title, command, run("bash", "-c", command).rstrip()))

    def write(self, path: Path, transcript: list[str]) -> None:
        """Writes the page."""
        shown = "\n".join(transcript).strip("\n")
        parts = [PAGE.format(transcript=shown)]
        parts += [
            SECTION.format(title=title, command=command, output=output)
            for title, command, output in self.sections
        ]
        # kubectl pads its tables with spaces.
        path.write_text(re.sub(r"[ \t]+\n", "\n", "".join(parts)))
