"""The model's own input example as the body of a request, whichever MLflow has saved it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# MLflow's names, in the MLmodel file.
_SERVING_PATH = "serving_input_path"  # since 2.16: the body itself
_PATH = "artifact_path"
_INPUTS, _PARAMS = "inputs", "params"
_LLM_FORMS = {"messages", "prompt", "input"}  # which MLflow sends as they are


class UnusableExample(Exception):
    """The files have an input example that can't be sent; the message says why, without it."""


def example_body(info: Any, folder: Path, max_bytes: int) -> bytes | None:
    """The body of a request with the input example; None where the model has none.

    `info` is `saved_input_example_info` of the MLmodel file. Raises UnusableExample.
    """
    if not isinstance(info, dict) or not info:
        return None
    serving_path = info.get(_SERVING_PATH)
    if serving_path is not None:
        return _read(folder, serving_path, max_bytes)
    saved = _read(folder, info.get(_PATH), max_bytes)
    try:
        return json.dumps(_request(json.loads(saved), info)).encode()
    except (ValueError, TypeError, RecursionError):
        raise UnusableExample(f"{info.get(_PATH)} is not an input example of MLflow's") from None


def _read(folder: Path, name: Any, max_bytes: int) -> bytes:
    """The file of that name, which comes from whoever has made the model."""
    path = folder.resolve() / str(name)
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        raise UnusableExample("its MLmodel file names an input example that its files don't have")
    with path.open("rb") as file:
        body = file.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise UnusableExample(
            f"its input example has more than the {max_bytes} bytes that a request may have "
            "(MAX_BODY_BYTES)"
        )
    return body


def _request(saved: Any, info: dict[str, Any]) -> dict[str, Any]:
    """What MLflow before 2.16 has saved, as a request."""
    params: dict[str, Any] = {}
    if info.get(_PARAMS):
        saved, params = saved[_INPUTS], {_PARAMS: saved[_PARAMS]}
    match info.get("type"):
        case "dataframe":
            return {"dataframe_split": saved, **params}
        case "ndarray":
            is_wrapped = info.get("format") == "tf-serving"
            return {_INPUTS: saved[_INPUTS] if is_wrapped else saved, **params}
        case "json_object":
            if isinstance(saved, dict) and _LLM_FORMS & saved.keys():
                return {**saved, **params.get(_PARAMS, {})}
            return {_INPUTS: saved, **params}
    raise ValueError
