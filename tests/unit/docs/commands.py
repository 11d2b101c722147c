"""The commands in the docs: console blocks, and the marker above each that says who runs them."""

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
    about: str  # of run: the way of installation that it belongs to; of skip: why
    script: str


def blocks(path: Path) -> Iterator[Block]:
    """The blocks of a Markdown file, in order."""
    text = path.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        yield Block(
            path.name,
            text.count("\n", 0, match.start()) + 1,
            match["kind"] or "",
            match["about"] or "",
            _script(match["body"], len(match["indent"])),
        )


def _script(body: str, indent: int) -> str:
    """The commands without their prompts, and without what they print."""
    lines: list[str] = []
    terminator, continued = "", False
    for line in (line[indent:] for line in body.splitlines()):
        command = line.startswith("$ ")
        if command or continued or terminator:
            lines.append(line.removeprefix("$ ") if command else line)
        if terminator:
            terminator = "" if line == terminator else terminator
        elif match := re.search(r"<<'?(\w+)'?", line):
            terminator = match[1]
        continued = line.endswith("\\") or _is_open(line, continued)
    return "\n".join(lines) + "\n"


def _is_open(line: str, was_open: bool) -> bool:
    """Whether a quoted text goes on in the next line."""
    return (line.count("'") % 2 == 1) != was_open and not line.endswith("\\")
