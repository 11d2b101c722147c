"""The commands in the docs: console blocks, and the marker above each that says who runs them.

<!-- run: both -->                 on a cluster, as written, by `make test-docs`; instead of both:
                                   push or build, for one way to the images; gateway or grpcurl,
                                   where the cluster or the machine has it
<!-- run: gateway, fails -->       it ends with an error, and prints what the page says
<!-- run: gateway, interrupted --> it goes on until somebody presses Ctrl-C
<!-- run: path/of/test.py -->      by another test, or by a workflow
<!-- skip: needs … -->             nobody runs it, and why
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^(?P<indent> *)(?:<!-- (?P<kind>run|skip): (?P<about>.+?) -->\n *)?```console\n"
    r"(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One console block. `kind` is run, skip, or "" where no marker is above it."""

    file: str
    line: int
    kind: str
    about: str  # of run: who runs it, and where, see above; of skip: what it needs
    script: str
    printed: str  # what the page says that the commands print

    @property
    def words(self) -> tuple[str, ...]:
        """The parts of a marker."""
        return tuple(self.about.split(", "))

    @property
    def runner(self) -> str:
        """The other test or workflow that runs it, by its path; "" where e2e/ does."""
        return self.about if self.kind == "run" and "/" in self.about else ""


def blocks(path: Path) -> Iterator[Block]:
    """The blocks of a Markdown file, in order."""
    text = path.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        script, printed = _split(match["body"], len(match["indent"]))
        yield Block(
            path.name,
            text.count("\n", 0, match.start()) + 1,
            match["kind"] or "",
            match["about"] or "",
            script,
            printed,
        )


def _split(body: str, indent: int) -> tuple[str, str]:
    """The commands without their prompts, and what they print."""
    lines: list[str] = []
    printed: list[str] = []
    terminator, quoted, continued = "", False, False
    for line in (line[indent:] for line in body.splitlines()):
        if terminator:
            lines.append(line)
            terminator = "" if line == terminator else terminator
        elif continued or line.startswith("$ "):
            lines.append(line if continued else line.removeprefix("$ "))
            quoted = _is_open(line, quoted)
            continued = quoted or line.endswith("\\")
            if match := re.search(r"<<'?(\w+)'?", line):
                terminator = match[1]
        else:
            printed.append(line)
    return "\n".join(lines) + "\n", "\n".join(printed)


def _is_open(line: str, was_open: bool) -> bool:
    """Whether a quoted text goes on in the next line."""
    return (line.count("'") % 2 == 1) != was_open
