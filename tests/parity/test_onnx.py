"""Models that are converted to ONNX answer as MLflow does, by the tolerance that was found."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pandas as pd
import pytest

from mlflow_model_server.onnx import convert
from mlflow_model_server.settings import Settings
from tests.parity import bodies
from tests.parity.conftest import Served
from tests.parity.models import MODELS, Sample
from tests.parity.servers import serving
from tests.parity.test_parity import all_alike, part_of

CONVERTED = [
    "linear",
    "logistic-probabilities",
    "scaled-logistic",
    "forest",
    "forest-with-names-as-labels",
    "several-outputs",
    "integer-columns",
    "clusters",
    "column-transformer",
    "text",
    "tensor",
]


@pytest.mark.parametrize("name", CONVERTED)
def test_a_converted_model_answers_as_mlflow_does(tmp_path: Path, name: str) -> None:
    sample = MODELS[name].save(tmp_path / "plain")
    _save_with_example(tmp_path / "plain", tmp_path / "artifact", sample)
    settings = Settings(model_dir=tmp_path)
    settings.converted.mkdir()
    note = convert.convert_prepared(settings)
    assert note.spec is not None, note
    note.write(settings.converted)
    with serving(tmp_path, ONNX="true") as pair:
        served = Served(MODELS[name], sample, pair, note.spec.tolerance)
        odd = [request for make in bodies.ODD.values() for request in make(sample)]
        requests = [*bodies.good(sample), *part_of(name, odd)]
        all_alike(served, requests)


def _save_with_example(plain: Path, folder: Path, sample: Sample) -> None:
    """The same model once more, with what its signature makes of the sample as its example."""
    loaded = mlflow.pyfunc.load_model(str(plain), suppress_warnings=True)
    signature = loaded.metadata.signature
    if signature.inputs.is_tensor_spec():
        (spec,) = signature.inputs.inputs
        example = pd.DataFrame(sample.rows).to_numpy(spec.type)
    else:
        example = pd.DataFrame(sample.rows)
    mlflow.sklearn.save_model(
        loaded.get_raw_model(),
        folder,
        signature=signature,
        input_example=example,
        serialization_format="cloudpickle",
        pip_requirements=[],
        pyfunc_predict_fn=loaded.metadata.flavors["python_function"]["predict_fn"],
    )
