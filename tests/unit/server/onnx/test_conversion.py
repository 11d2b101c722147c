"""The conversion to ONNX: what is converted, what is not and why, and that nobody suffers."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
import requests
from mlflow.models import infer_signature
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlflow_model_server.model import loading
from mlflow_model_server.model.input_schema import FallbackRequired
from mlflow_model_server.onnx import convert, prepare, result
from mlflow_model_server.onnx.load import load_onnx_predictor
from mlflow_model_server.onnx.result import Conversion, OnnxSpec
from mlflow_model_server.onnx.session import Session
from mlflow_model_server.prepare import init_container
from mlflow_model_server.runtime import cgroup
from mlflow_model_server.settings import Settings
from tests.unit.server import models
from tests.unit.server.process import serving

METRIC = "mlflow_model_server_model_converted_to_onnx"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, onnx=True)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a test saves its model: MLflow makes the folder."""
    return tmp_path / "source"


def wine() -> tuple[pd.DataFrame, pd.Series]:
    x, y = load_wine(return_X_y=True, as_frame=True)
    return x, y


def save(folder: Path, fitted: Any, x: pd.DataFrame, **more: Any) -> None:
    """Saves an estimator with signature and input example, unless `more` says otherwise."""
    method = getattr(fitted, more.get("pyfunc_predict_fn", "predict"))
    given = {"signature": infer_signature(x, method(x)), "input_example": x.head(5), **more}
    mlflow.sklearn.save_model(
        fitted, folder, serialization_format="cloudpickle", pip_requirements=[], **given
    )


def converted(settings: Settings) -> Conversion:
    """The note that a conversion in this process leaves."""
    settings.converted.mkdir()
    conversion = convert.convert_prepared(settings)
    conversion.write(settings.converted)
    return conversion


def same_answers(settings: Settings, x: pd.DataFrame) -> None:
    """The loaded model is predicted by ONNX Runtime, and answers as MLflow does."""
    loaded = loading.load(settings, load_onnx_predictor)
    assert loaded.is_onnx and loaded.direct is not None and loaded.input_schema is not None
    found = loaded.direct.predict(loaded.merge_rows([loaded.input_schema.rows_of(x)]))
    np.testing.assert_allclose(found, loaded.model.predict(x), rtol=1e-5)


# What is converted


def test_a_prepared_model_is_predicted_by_onnx_runtime(
    settings: Settings, model: Path, unused_tcp_port_factory: Any
) -> None:
    fitted = models.save_wine(model, input_example=wine()[0].head(3))
    init_container.prepare(settings)
    port, metrics = unused_tcp_port_factory(), unused_tcp_port_factory()
    x = wine()[0].iloc[::20]
    with serving(settings.model_dir, port, ONNX="true", METRICS_PORT=str(metrics)) as server:
        answer = server.predict({"dataframe_split": x.to_dict(orient="split")})
        assert answer.json() == {"predictions": fitted.predict(x).tolist()}
        assert metric_of(metrics) == (1, "")
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "onnxruntime" in maps
        assert "onnx_cpp2py" not in maps, "the converter's library is loaded"
        assert "ONNX Runtime predicts" in server.output.read_text()


def test_numbers_computed_in_double_are_the_same_to_the_last_digits(
    settings: Settings, model: Path
) -> None:
    x, y = wine()
    save(model, LinearRegression().fit(x, y), x)
    conversion = converted(settings)
    assert conversion.spec is not None, conversion
    assert (conversion.spec.dtype, conversion.spec.tolerance) == ("float64", 1e-9)
    same_answers(settings, x)


@pytest.mark.parametrize("before", [[], [StandardScaler()]], ids=["alone", "behind a scaler"])
def test_trees_see_numbers_as_scikit_learn_s_do(
    settings: Settings, model: Path, before: list[Any]
) -> None:
    """As float32: 2.51 is not more than a threshold of float32(2.51)."""
    x, y = wine()
    forest = RandomForestClassifier(30, random_state=5)
    save(model, make_pipeline(*before, forest).fit(x, y), x, pyfunc_predict_fn="predict_proba")
    conversion = converted(settings)
    assert conversion.spec is not None and conversion.spec.dtype == "float64", conversion
    same_answers(settings, x)


@pytest.mark.parametrize("labels", [["red", "white"], [True, False], [3, 7]])
def test_labels_come_back_as_what_they_are(
    settings: Settings, model: Path, labels: list[Any]
) -> None:
    x, y = wine()
    named = np.array(labels)[(y > 0).astype(int)]
    save(model, RandomForestClassifier(15, random_state=0).fit(x, named), x)
    assert converted(settings).spec is not None
    loaded = loading.load(settings, load_onnx_predictor)
    assert loaded.is_onnx and loaded.direct is not None and loaded.input_schema is not None
    answer = loaded.direct.predict(loaded.merge_rows([loaded.input_schema.rows_of(x)])).tolist()
    assert answer == loaded.model.predict(x).tolist()
    assert type(answer[0]) is type(labels[0])


def test_a_table_of_words(settings: Settings, model: Path) -> None:
    x = pd.DataFrame({"grape": ["merlot", "syrah", "riesling"] * 9, "land": ["FR", "DE", "IT"] * 9})
    encoder = OneHotEncoder(handle_unknown="ignore")
    save(model, make_pipeline(encoder, LogisticRegression()).fit(x, [0, 1, 2] * 9), x)
    conversion = converted(settings)
    assert conversion.spec is not None and conversion.spec.layout == result.TABLE, conversion
    same_answers(settings, x)


@pytest.mark.parametrize("number", [math.inf, math.nan, 1e12])
def test_what_was_never_tried_is_mlflow_s_to_answer(
    settings: Settings, model: Path, number: float
) -> None:
    x, y = wine()
    save(model, LinearRegression().fit(x, y), x)
    how = converted(settings).spec
    assert how is not None
    session = Session(settings.converted / result.MODEL, how)
    with pytest.raises(FallbackRequired):
        session.predict(np.full((1, x.shape[1]), number))


# What is not, and why


def test_a_model_that_can_t_be_converted_is_told(settings: Settings, model: Path) -> None:
    x, y = wine()
    save(model, NearestCentroid().fit(x, y), x)
    conversion = converted(settings)
    assert (conversion.spec, conversion.reason) == (None, result.NOT_CONVERTIBLE)
    assert "NearestCentroid" in conversion.message


def test_a_conversion_that_answers_otherwise_is_not_used(
    settings: Settings, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = wine()
    save(model, LinearRegression().fit(x, y), x)
    other = LinearRegression().fit(x, y + 1e-3)
    monkeypatch.setattr(convert, "_convert", partial(_convert_another, convert._convert, other))
    conversion = converted(settings)
    assert (conversion.spec, conversion.reason) == (None, result.ANSWERS_DIFFER)
    assert conversion.message == "5 of 5 rows of its example are predicted differently"
    assert not (settings.converted / result.MODEL).exists()


def _convert_another(real: Any, other: Any, model: Any, *how: Any) -> Any:
    class Another:
        metadata = model.metadata

        def get_raw_model(self) -> Any:
            return other

    return real(Another(), *how)


def test_a_signature_of_more_than_plain_columns_is_told(settings: Settings, model: Path) -> None:
    x, y = wine()
    dates = pd.DataFrame({"day": pd.date_range("2026-01-01", periods=len(x))})
    fitted = LinearRegression().fit(x, y)
    save(model, fitted, x, signature=infer_signature(dates, y))
    assert converted(settings).reason == result.NO_SIGNATURE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loader_module": "mlflow.xgboost"}, result.NOT_SKLEARN),
        ({"signature": None}, result.NO_SIGNATURE),
        ({"saved_input_example_info": None}, result.NO_EXAMPLE),
    ],
)
def test_what_the_model_s_files_lack_is_told_before_anything_is_installed(
    settings: Settings, change: dict[str, Any], reason: str
) -> None:
    loader = change.get("loader_module", "mlflow.sklearn")
    mlmodel = {
        "flavors": {"python_function": {"loader_module": loader}},
        "signature": {"inputs": "[]"},
        "saved_input_example_info": {"type": "dataframe"},
        **change,
    }

    def not_installed(_names: Sequence[str], _folder: Path) -> None:
        raise AssertionError("something was installed")

    prepare.prepare_onnx(settings, mlmodel, not_installed)
    assert result.read(settings.converted).reason == reason


# Nothing that goes wrong hurts


def test_packages_that_can_t_be_had_are_told_and_the_model_is_served(
    settings: Settings, model: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    x, y = wine()
    save(model, LinearRegression().fit(x, y), x)
    monkeypatch.setattr(prepare, "PACKAGES", ("nosuchpkg",))
    init_container.prepare(settings)
    conversion = result.read(settings.converted)
    assert conversion.reason == result.NO_PACKAGES
    assert "nosuchpkg" in conversion.message
    loaded = loading.load(settings, load_onnx_predictor)
    assert loaded.direct is not None and not loaded.is_onnx
    assert "the model is served without ONNX" in caplog.text


def test_a_conversion_that_breaks_off_is_told(settings: Settings, model: Path) -> None:
    x, y = wine()
    save(model, LinearRegression().fit(x, y), x)
    (model / "model.pkl").write_bytes(b"no pickle")
    init_container.prepare(settings)
    conversion = result.read(settings.converted)
    assert conversion.reason == result.ABORTED
    assert conversion.message.startswith("the conversion exited with code 1: ")


def test_a_container_that_was_killed_by_it_does_not_try_again(
    settings: Settings, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = wine()
    save(model, LinearRegression().fit(x, y), x)

    def die(*_: Any) -> Conversion:
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "_in_a_process", die)
    with pytest.raises(KeyboardInterrupt):
        init_container.prepare(settings)
    init_container.prepare(settings)
    assert result.read(settings.converted).reason == result.ABORTED


def test_a_conversion_that_can_t_be_used_at_the_start_is_told(
    settings: Settings, model: Path, unused_tcp_port_factory: Any
) -> None:
    models.save_wine(model)
    settings.converted.mkdir()
    (settings.converted / result.MODEL).write_bytes(b"no model")
    Conversion(OnnxSpec(result.TABLE, "float64", "x", (), "int64", 1e-9, (1.0,))).write(
        settings.converted
    )
    port, metrics = unused_tcp_port_factory(), unused_tcp_port_factory()
    with serving(settings.model_dir, port, ONNX="true", METRICS_PORT=str(metrics)) as server:
        rows = wine()[0].head(2).to_dict(orient="split")
        assert server.predict({"dataframe_split": rows}).json() == {"predictions": [0, 0]}
        assert metric_of(metrics) == (0, result.REFUSED)
        assert "the model is served without ONNX" in server.output.read_text()


def test_what_was_prepared_without_it_is_served_without(
    settings: Settings, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models.save_wine(model)
    with caplog.at_level(logging.WARNING):
        assert not loading.load(settings, load_onnx_predictor).is_onnx
    assert "it was prepared without ONNX" in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"spec": {}}', '{"spec": null, "a": 1}'])
def test_a_note_that_can_t_be_read_is_told(settings: Settings, text: str) -> None:
    settings.converted.mkdir()
    (settings.converted / "conversion.json").write_text(text)
    assert result.read(settings.converted).reason == result.NOT_PREPARED


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    conversion = Conversion(
        OnnxSpec(result.COLUMNS, "float32", "y", (2,), "float64", 1e-5, (2.5, math.inf)), "", "so"
    )
    conversion.write(tmp_path)
    assert result.read(tmp_path) == conversion


def test_with_too_little_memory_it_does_not_try(
    settings: Settings, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = wine()
    save(model, LinearRegression().fit(x, y), x)
    monkeypatch.setattr(cgroup, "memory_limit", lambda _: 400 * 2**20)
    init_container.prepare(settings)
    assert result.read(settings.converted).message.startswith("the memory limit is too low")


def metric_of(port: int) -> tuple[float, str]:
    """The metric's value and reason."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    (family,) = (one for one in text_string_to_metric_families(text) if one.name == METRIC)
    (sample,) = family.samples
    return sample.value, sample.labels["reason"]
