"""Each part of a request or signature that MLflow hands on reaches the model as from MLflow.

Else the fast path is not taken. Every model here depends on such a part, and looks otherwise as if
the fast path would do.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import Schema, TensorSpec
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mlflow_model_server.inference.predictor import Predictor
from mlflow_model_server.inference.service import InferenceService
from tests.parity.asgi import Request
from tests.parity.bodies import dumps
from tests.parity.compare import RELATIVE_SINGLE
from tests.parity.deviations import unexplained
from tests.parity.servers import Pair, serving

cloudpickle.register_pickle_by_value(sys.modules[__name__])

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 4.4, 1.4], [6.3, 2.8, 5.1, 1.5]]
NAMES = ["a", "b", "c", "d"]
INFER = "/v2/models/mlflow-model/infer"


class AddsLabel(TransformerMixin, BaseEstimator):
    """Adds what the row is called."""

    def fit(self, X: Any, y: Any = None) -> AddsLabel:
        return self

    def transform(self, X: Any) -> Any:
        labels = {"red": 100, "blue": 200}
        return X.assign(a=[labels.get(label, label) for label in X.index])


class CountsCalls(TransformerMixin, BaseEstimator):
    """Gives each table another number, as one that reads a counter would."""

    def fit(self, X: Any, y: Any = None) -> CountsCalls:
        return self

    def transform(self, X: Any) -> Any:
        return X.assign(a=float(len(X)))


def iris() -> tuple[pd.DataFrame, pd.Series]:
    x, y = load_iris(return_X_y=True, as_frame=True)
    x.columns = NAMES
    return x, y


def words(text: str) -> list[str]:
    return text.split("-")


def distance(one: Any, other: Any) -> float:
    return float(np.abs(one - other).sum())


def save(folder: Path, fitted: Any, frame: Any, **more: Any) -> None:
    signature = more.pop("signature", None) or infer_signature(frame, fitted.predict(frame))
    mlflow.sklearn.save_model(
        fitted,
        folder,
        signature=signature,
        serialization_format="cloudpickle",
        pip_requirements=[],
    )


def labelled(folder: Path) -> None:
    x, y = iris()
    save(folder, make_pipeline(AddsLabel(), LinearRegression()).fit(x, y), x)


def whole_tables(folder: Path) -> None:
    x, y = iris()
    save(folder, make_pipeline(CountsCalls(), LinearRegression()).fit(x, y), x)


def frames_inside(folder: Path) -> None:
    x, y = iris()
    scaler = ColumnTransformer([("left", StandardScaler(), ["a", "b"])], remainder="passthrough")
    fitted = make_pipeline(scaler, LinearRegression()).set_output(transform="pandas").fit(x, y)
    save(folder, fitted, x)


def a_function(folder: Path) -> None:
    x, y = iris()
    centred = FunctionTransformer(lambda table: table - table.mean())
    save(folder, make_pipeline(centred, LinearRegression()).fit(x, y), x)


def a_metric(folder: Path) -> None:
    x, y = iris()
    save(folder, KNeighborsRegressor(3, metric=distance).fit(x, y), x)


def a_tokenizer(folder: Path) -> None:
    frame = pd.DataFrame({"text": ["a-b", "b-c", "c-d", "a-d"]})
    vectors = TfidfVectorizer(tokenizer=words, token_pattern=None)
    columns = ColumnTransformer([("words", vectors, "text")])
    save(folder, make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1, 0, 1]), frame)


def plain(folder: Path) -> None:
    x, y = iris()
    save(folder, LinearRegression().fit(x, y), x)


def plain_params(folder: Path) -> None:
    x, y = iris()
    fitted = LinearRegression().fit(x, y)
    save(folder, fitted, x, signature=infer_signature(x, fitted.predict(x), params={"p": 1}))


def boosted_params(folder: Path) -> None:
    """The first ten rounds only, unless a request says otherwise."""
    import xgboost

    x, y = iris()
    fitted = xgboost.XGBClassifier(n_estimators=60, learning_rate=0.02, n_jobs=1).fit(x, y)
    params = {"iteration_range": [0, 2]}
    signature = infer_signature(x, fitted.predict(x), params=params)
    mlflow.xgboost.save_model(fitted, folder, signature=signature, pip_requirements=[])


def a_tensor(folder: Path) -> None:
    x, y = iris()
    fitted = make_pipeline(FunctionTransformer(lambda t: t - t.mean()), LinearRegression())
    signature = ModelSignature(inputs=Schema([TensorSpec(np.dtype("float64"), (-1, 4))]))
    save(folder, fitted.fit(x.to_numpy(), y), x.to_numpy(), signature=signature)


# Whether the fast path may be taken for it at all.
MODELS: dict[Callable[[Path], None], bool] = {
    labelled: False,
    whole_tables: False,
    frames_inside: True,
    a_function: False,
    a_metric: False,
    a_tokenizer: False,
    plain: True,
    plain_params: False,
    boosted_params: False,
    a_tensor: False,
}


def requests(model: str) -> Iterator[Request]:
    if model == "a_tokenizer":
        yield Request("text", dumps({"dataframe_split": {"columns": ["text"], "data": [["a-d"]]}}))
        return
    if model == "a_tensor":
        for rows in (ROWS, ROWS[:1]):
            yield Request("tensor", dumps({"inputs": rows}))
        return
    for rows in (ROWS, ROWS[1:], ROWS[:1]):
        split = {"columns": NAMES, "data": rows}
        count = len(rows)
        labels = {
            "none": None,
            "numbers": list(range(count)),
            "others": list(range(7, 7 + count)),
            "reversed": list(range(count))[::-1],
            "words": ["red", "blue", "red"][:count],
            "the same": [3] * count,
            "floats": [float(n) for n in range(count)],
            "booleans": [n > 0 for n in range(count)],
            "too few": [],
        }
        for name, index in labels.items():
            body = split if index is None else {**split, "index": index}
            yield Request(f"{count} rows, labels: {name}", dumps({"dataframe_split": body}))
        records = [dict(zip(NAMES, row, strict=True)) for row in rows]
        yield Request("records", dumps({"dataframe_records": records}))
        for params in ({}, {"iteration_range": [0, 60]}, {"p": 2}):
            yield Request(f"params {params}", dumps({"dataframe_split": split, "params": params}))


@dataclass(frozen=True)
class Served:
    name: str
    pair: Pair
    has_fast_path: bool


@pytest.fixture(scope="module", params=MODELS, ids=lambda save: save.__name__)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp(request.param.__name__)
    request.param(folder / "artifact")
    with serving(folder) as pair:
        service: InferenceService = pair.ours._app.service
        assert isinstance(service.predictor, Predictor)
        yield Served(request.param.__name__, pair, service.predictor._batcher is not None)


def test_the_fast_path_is_for_known_code(served: Served) -> None:
    expected = {save.__name__: fast for save, fast in MODELS.items()}
    assert served.has_fast_path is expected[served.name]


def test_answers_are_mlflows(served: Served) -> None:
    failures = []
    for request in requests(served.name):
        theirs, ours = served.pair.answer(request)
        failures += [
            f"{request.label}: {difference}"
            for difference in unexplained(request, theirs, ours, RELATIVE_SINGLE)
        ]
    assert not failures, "\n".join(failures)


def test_answers_to_many_at_once_are_mlflows(served: Served) -> None:
    some = list(requests(served.name))
    theirs = [served.pair.theirs.answer(request) for request in some]
    ours = served.pair.ours.answers(some)
    failures = [
        f"{request.label}: {difference}"
        for request, one, other in zip(some, theirs, ours, strict=True)
        for difference in unexplained(request, one, other, RELATIVE_SINGLE)
    ]
    assert not failures, "\n".join(failures)


def test_the_open_inference_protocol_predicts_the_same(served: Served) -> None:
    """What it can't say (labels) MLflow makes up: so for both."""
    if served.name in ("a_tokenizer", "a_tensor"):
        return
    columns = [
        {"name": name, "datatype": "FP64", "shape": [len(ROWS)], "data": [row[i] for row in ROWS]}
        for i, name in enumerate(NAMES)
    ]
    infer = Request("v2", dumps({"inputs": columns}), path=INFER)
    invoke = Request("", dumps({"dataframe_split": {"columns": NAMES, "data": ROWS}}))
    data = json.loads(served.pair.ours.answer(infer).body)["outputs"][0]["data"]
    expected = json.loads(served.pair.theirs.answer(invoke).body)["predictions"]
    assert np.allclose(data, expected)
