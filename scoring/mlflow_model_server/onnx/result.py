"""What `prepare` leaves for `serve` to know of a conversion. Needs only the standard library."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MODEL = "model.onnx"
_FILE = "conversion.json"

# Why a model is served as it is: the metric's label `reason`.
NOT_PREPARED = "NotPrepared"
NOT_SKLEARN = "NotScikitLearn"
NO_SIGNATURE = "NoSignature"
NO_EXAMPLE = "NoInputExample"
NO_PACKAGES = "PackagesNotInstalled"
NOT_CONVERTIBLE = "NotConvertible"
ANSWERS_DIFFER = "AnswersDiffer"
ABORTED = "BrokenOff"
REFUSED = "RefusedAtStart"

# How the converted model takes its rows.
TABLE = "table"  # one tensor (rows, columns)
COLUMNS = "columns"  # a tensor (rows, 1) for each column


@dataclass(frozen=True)
class OnnxSpec:
    """How the converted model is asked, and how its answer becomes the model's own."""

    layout: str  # TABLE or COLUMNS
    dtype: str  # of the numbers that it takes: "float64" or "float32"
    output: str
    answer_shape: tuple[int, ...]  # for one row
    answer_dtype: str
    tolerance: float  # by which floats were seen to be the model's
    max_abs: tuple[float, ...]  # for each column: larger numbers are not for it


@dataclass(frozen=True)
class Conversion:
    """What became of a conversion: how to use it, or why there is none."""

    spec: OnnxSpec | None
    reason: str = ""
    message: str = ""  # a sentence for the log

    def write(self, folder: Path) -> None:
        """Into `folder`, at once: a reader finds the one before or this one."""
        draft = folder / f"{_FILE}.draft"
        draft.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")
        draft.rename(folder / _FILE)


def not_converted(reason: str, message: str) -> Conversion:
    """Why a model is served as it is."""
    return Conversion(None, reason, message)


def read(folder: Path) -> Conversion:
    """What `write` wrote there."""
    try:
        content = json.loads((folder / _FILE).read_text("utf-8"))
        return Conversion(_spec_of(content.pop("spec")), **content)
    except FileNotFoundError:
        return not_converted(NOT_PREPARED, "it was prepared without ONNX")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return not_converted(NOT_PREPARED, f"what was prepared can't be read: {error}")


def _spec_of(content: dict[str, Any] | None) -> OnnxSpec | None:
    """JSON has lists for tuples."""
    if content is None:
        return None
    fields: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    return OnnxSpec(**fields)
