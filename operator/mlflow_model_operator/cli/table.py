"""Plain text in columns, as kubectl prints it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GAP = "   "


def table(header: Sequence[str], rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """A table with as much space as it needs; a cell without text is a dash.

    >>> print(table(["STEP", "WEIGHT"], [["1", "10 %"], ["12", ""]]))
    STEP   WEIGHT
    1      10 %
    12     -
    """
    lines = [header, *([printable(cell) or "-" for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        indent
        + GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def printable(text: str) -> str:
    """Without what would steer a terminal: messages come from pods and registries too."""
    return "".join(char if char.isprintable() else " " for char in text)


def fields(pairs: Iterable[tuple[str, str]]) -> str:
    """One line for each name with its text; those without text are left out."""
    given = [(f"{name}:", printable(text)) for name, text in pairs if text]
    width = max((len(name) for name, _ in given), default=0) + len(GAP)
    return "\n".join(f"{name.ljust(width)}{text}" for name, text in given)
