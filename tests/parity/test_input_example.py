"""Models of all kinds answer an input example of theirs, and the outputs fit their signatures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlflow_model_server import bootstrap
from mlflow_model_server.http.input_example import check_input_example
from mlflow_model_server.model import loading
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings
from tests.parity.bodies import split
from tests.parity.models import MODELS, Sample

# Of one row these fail on purpose, or return what no JSON can say.
ON_PURPOSE = {"fails", "returns"}


def example_of(name: str, sample: Sample) -> dict[str, object]:
    """A good body, as MLflow would save it."""
    if sample.unified:
        return sample.unified[0]
    if sample.inputs and (name == "type-hints" or not sample.rows):
        return {"inputs": sample.inputs[0]}
    return {"dataframe_split": split(sample.rows[:1])}


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ON_PURPOSE])
def test_its_own_example_is_answered_as_its_signature_says(name: str, tmp_path: Path) -> None:
    sample = MODELS[name].save(tmp_path / "artifact")
    settings = Settings(model_uri="models:/wine/3", model_dir=tmp_path, input_example="required")
    loaded = loading.load(settings)
    file = tmp_path / "artifact" / "serving_input_example.json"
    if not file.exists():
        file.write_text(json.dumps(example_of(name, sample)))
        loaded.model.metadata.saved_input_example_info = {"serving_input_path": file.name}
    check_input_example(loaded, settings)


def test_a_model_that_fails_does_not_get_as_far_as_an_application(tmp_path: Path) -> None:
    sample = MODELS["fails"].save(tmp_path / "artifact")
    mlmodel = tmp_path / "artifact" / "MLmodel"
    info = "saved_input_example_info: {serving_input_path: serving_input_example.json}\n"
    mlmodel.write_text(mlmodel.read_text().replace("saved_input_example_info: null\n", "") + info)
    (tmp_path / "artifact" / "serving_input_example.json").write_text(
        json.dumps({"dataframe_split": split(sample.rows[:1])})
    )
    settings = Settings(model_dir=tmp_path, input_example="if-present")
    with pytest.raises(StartupError, match=r"^InputExampleFailed: The model answers its own input"):
        bootstrap.load(settings)
