"""The model's own input example as the body of a request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.models.utils import _Example

from mlflow_model_server.model.input_example import UnusableExample, example_body

TABLE = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
EXAMPLES: list[Any] = [
    TABLE,
    pd.DataFrame([[1, 2]]),
    np.array([[1.0, 2.0]]),
    {"a": np.array([1, 2])},
    {"question": "why?"},
    ["a", "b"],
    {"messages": [{"role": "user", "content": "hello"}]},
    (TABLE, {"threshold": 0.5}),
    (np.array([1.0]), {"threshold": 0.5}),
    ({"messages": []}, {"temperature": 0.5}),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_of_what_mlflow_has_saved_it_is_mlflow_s_own_serving_example(
    tmp_path: Path, example: Any
) -> None:
    saved = _Example(example)
    saved.save(str(tmp_path))
    body = example_body(saved.info, tmp_path, 10_000)
    assert json.loads(body or b"") == json.loads(saved.json_serving_input)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_of_what_an_older_mlflow_has_saved_it_is_the_same(tmp_path: Path, example: Any) -> None:
    saved = _Example(example)
    saved.save(str(tmp_path))
    older = {key: value for key, value in saved.info.items() if key != "serving_input_path"}
    body = example_body(older, tmp_path, 10_000)
    assert json.loads(body or b"") == json.loads(saved.json_serving_input)


def test_the_tensors_of_mlflow_2_0_are_sent_too(tmp_path: Path) -> None:
    (tmp_path / "input_example.json").write_text('{"inputs": [[1, 2]]}')
    info = {"artifact_path": "input_example.json", "type": "ndarray", "format": "tf-serving"}
    assert json.loads(example_body(info, tmp_path, 100) or b"") == {"inputs": [[1, 2]]}


@pytest.mark.parametrize("info", [None, {}, "text"])
def test_a_model_may_have_none(tmp_path: Path, info: Any) -> None:
    assert example_body(info, tmp_path, 100) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("../secret.json", "", "that its files don't have"),
        ("missing.json", "", "that its files don't have"),
        ("link.json", "", "that its files don't have"),
        ("long.json", "x" * 101, "more than the 100 bytes that a request may have"),
        ("odd.json", "[" * 90, "is not an input example of MLflow's"),
        ("type.json", "{}", "is not an input example of MLflow's"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    if content:
        (folder / name).write_text(content)
    with pytest.raises(UnusableExample, match=message):
        example_body({"artifact_path": name, "type": "unknown"}, folder, 100)
