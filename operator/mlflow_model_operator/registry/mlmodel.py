"""The signature in an MLmodel file, read in linear time and without a YAML parser.

MLflow writes inputs, outputs and params as JSON in single quotes, in lines that YAML folds.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_model_operator.api.signature import Signature

_PARTS = ("inputs", "outputs", "params")


def read_signature(mlmodel: str, is_complete: bool) -> Signature | None:
    """The signature; None where it is not as MLflow writes it, or the text ends before.

    `is_complete`: the text is all of the file.
    """
    lines = iter(mlmodel.splitlines())
    if not any(line == "signature:" for line in lines):
        return Signature() if is_complete and "\nsignature: " not in f"\n{mlmodel}" else None
    parts: dict[str, str | None] = {}
    block = _block(lines)
    for line in block:
        name, _, value = line.strip().partition(": ")
        if name not in _PARTS:
            continue
        try:
            parts[name] = _scalar(value, block)
        except ValueError:
            return None
    is_cut = not is_complete and len(parts) < len(_PARTS)
    return None if is_cut else Signature(**parts)


def _block(lines: Iterator[str]) -> Iterator[str]:
    """The lines that belong to the key before."""
    for line in lines:
        if not line.startswith("  "):
            return
        yield line


def _scalar(value: str, lines: Iterator[str]) -> str | None:
    """A text in single quotes, or null. Raises ValueError for anything else."""
    if value == "null":
        return None
    if not value.startswith("'"):
        raise ValueError
    parts = [value[1:]]
    while not _ends(parts[-1]):
        line = next(lines, None)
        if line is None:
            raise ValueError
        parts.append(line.strip())
    return " ".join(parts)[:-1].replace("''", "'")


def _ends(part: str) -> bool:
    return part.replace("''", "").endswith("'")
