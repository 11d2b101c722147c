"""What the demo shows: chapters, commands with what they print, waits, and a few drawn bars.

Coloured on a terminal, plain text anywhere else (and with NO_COLOR, see https://no-color.org).
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from dev.cluster.progress import Timings, duration
from dev.cluster.settings import read_settings
from dev.kube import run

INDENT = "   "
BAR_WIDTH = 40
WORTH_TELLING = 2.0  # seconds
BOLD, DIM, GREEN, CYAN = "1", "2", "32", "36"


@dataclass
class Screen:
    """Prints, and remembers what was printed, as plain text."""

    coloured: bool = field(
        default_factory=lambda: sys.stdout.isatty() and "NO_COLOR" not in os.environ
    )
    transcript: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chapters = count(1)
        self._timings = Timings(read_settings().cache / "timings.json")

    def chapter(self, title: str) -> None:
        """A heading."""
        number = str(next(self._chapters))
        self._print()
        self._print(f"{number:<{len(INDENT)}}{title}", BOLD)
        self._print()

    def say(self, text: str = "", style: str = "") -> None:
        """A paragraph; line breaks are kept."""
        self._print(textwrap.indent(text, INDENT), style)

    def good(self, text: str) -> None:
        """What the reader should take away."""
        self.say(text, GREEN)

    @contextmanager
    def working(self, title: str) -> Iterator[None]:
        """Says what is being done, how long that took last time, and how long it took now."""
        last = self._timings.get(f"demo: {title}")
        hint = f" (last time {duration(last)})" if last is not None else ""
        sys.stdout.write(f"{INDENT}{self._styled(f'{title}{hint} …', DIM)}")
        sys.stdout.flush()
        start = time.monotonic()
        try:
            yield
        except BaseException:
            sys.stdout.write(" failed\n")
            raise
        seconds = time.monotonic() - start
        self._timings.put(f"demo: {title}", seconds)
        sys.stdout.write(self._styled(f" {duration(seconds)}\n", DIM))
        sys.stdout.flush()
        self.transcript.append(f"{INDENT}{title} … {duration(seconds)}")

    def run(self, command: str, seconds: float = 60) -> str:
        """Shows a command, runs it as shown, and shows what it prints; returns that too."""
        self._print(f"{INDENT}$ {command}", CYAN)
        start = time.monotonic()
        printed = run("bash", "-c", command, timeout=seconds)
        took = time.monotonic() - start
        self.say(printed.rstrip() + (f"  ({duration(took)})" if took > WORTH_TELLING else ""))
        return printed

    def bars(self, counts: dict[str, int]) -> None:
        """Counts as bars, with their share of all."""
        total = sum(counts.values())
        width = max(map(len, counts))
        for name, number in counts.items():
            bar = "█" * round(BAR_WIDTH * number / total)
            self.say(f"{name:<{width}}  {bar} {number} ({100 * number / total:.1f} %)")

    def _print(self, text: str = "", style: str = "") -> None:
        self.transcript.append(text)
        print(self._styled(text, style), flush=True)

    def _styled(self, text: str, style: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self.coloured and style else text
