"""The models that both servers are asked with: small, real, saved by MLflow itself.

Each function saves one, and returns rows that a client may send it. `MODELS` has them all.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.parity import pyfuncs

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Sample:
    """What a client sends a model."""

    rows: Rows = field(default_factory=list)  # good rows, as JSON has them
    params: dict[str, Any] = field(default_factory=dict)  # good values of the model's params
    inputs: tuple[Any, ...] = ()  # good values of `inputs`, where rows alone don't say it
    unified: tuple[dict[str, Any], ...] = ()  # good bodies of the unified LLM forms


@dataclass(frozen=True)
class Model:
    """A model to be saved; `single`: it computes in float32."""

    name: str
    save: Callable[[Path], Sample]
    single: bool = False


MODELS: dict[str, Model] = {}


def model(*, single: bool = False) -> Callable[[Callable[[Path], Sample]], Callable[..., Sample]]:
    """Puts what a function saves into MODELS, under the function's name."""

    def put(save: Callable[[Path], Sample]) -> Callable[[Path], Sample]:
        name = save.__name__.replace("_", "-")
        MODELS[name] = Model(name, save, single)
        return save

    return put


def rows_of(frame: pd.DataFrame, count: int = 3) -> Rows:
    """Some rows of a frame, spread over it, with Python's own types."""
    records: Rows = frame.iloc[:: max(1, len(frame) // count)].head(count).to_dict("records")
    return records


def save_sklearn(
    folder: Path,
    fitted: Any,
    frame: pd.DataFrame,
    *,
    signature: ModelSignature | bool | None = True,
    **more: Any,
) -> Sample:
    """Saves an estimator, with a signature inferred from the frame unless one is given (or None).

    Not as skops, MLflow's default: it is about files, not about serving, and needs a list of types.
    """
    if signature is True:
        predict = getattr(fitted, more.get("pyfunc_predict_fn", "predict"))
        signature = infer_signature(frame, predict(frame))
    mlflow.sklearn.save_model(
        fitted,
        folder,
        signature=signature or None,
        serialization_format="cloudpickle",
        pip_requirements=[],
        **more,
    )
    return Sample(rows_of(frame))


def diabetes() -> tuple[pd.DataFrame, pd.Series]:
    """442 patients: ten numbers each, and how the disease went on."""
    x, y = load_diabetes(return_X_y=True, as_frame=True)
    return x, y


def iris() -> tuple[pd.DataFrame, pd.Series]:
    """150 flowers: four lengths each in cm, with names that hold spaces and brackets."""
    x, y = load_iris(return_X_y=True, as_frame=True)
    return x, y


def passengers() -> tuple[pd.DataFrame, pd.Series]:
    """Made-up rows with strings, numbers and booleans, and who survived."""
    rng = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "name": rng.choice(["Zoë", "李雷", "O'Hara", "a,b"], 200),
            "port": rng.choice(["S", "C", "Q"], 200),
            "age": rng.integers(1, 80, 200),
            "fare": rng.gamma(2, 20, 200).round(2),
            "alone": rng.random(200) < 0.5,
        }
    )
    return frame, (frame["fare"] + frame["age"] > 80).astype(int)


# scikit-learn


@model()
def linear(folder: Path) -> Sample:
    x, y = diabetes()
    return save_sklearn(folder, LinearRegression().fit(x, y), x)


@model()
def logistic_probabilities(folder: Path) -> Sample:
    x, y = iris()
    fitted = LogisticRegression(max_iter=500).fit(x, y)
    return save_sklearn(folder, fitted, x, pyfunc_predict_fn="predict_proba")


@model()
def scaled_logistic(folder: Path) -> Sample:
    x, y = iris()
    return save_sklearn(folder, make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y), x)


@model()
def forest(folder: Path) -> Sample:
    x, y = iris()
    return save_sklearn(folder, RandomForestClassifier(10, random_state=0).fit(x, y), x)


@model()
def forest_with_names_as_labels(folder: Path) -> Sample:
    x, y = iris()
    names = y.map({0: "setosa", 1: "versicolor", 2: "Virgínica"})
    return save_sklearn(folder, RandomForestClassifier(5, random_state=0).fit(x, names), x)


@model()
def several_outputs(folder: Path) -> Sample:
    x, y = diabetes()
    both = pd.DataFrame({"y": y, "twice": 2 * y})
    return save_sklearn(folder, RandomForestRegressor(5, random_state=0).fit(x, both), x)


@model()
def integer_columns(folder: Path) -> Sample:
    x = pd.DataFrame(
        {
            "long": np.arange(40, dtype="int64"),
            "integer": np.arange(40, dtype="int32") % 7,
            "float": np.arange(40, dtype="float32") / 3,
            "double": np.arange(40) / 7.0,
            "flag": np.arange(40) % 3 == 0,
        }
    )
    return save_sklearn(folder, LinearRegression().fit(x, np.arange(40) * 1.5), x)


@model()
def clusters(folder: Path) -> Sample:
    x, _ = iris()
    return save_sklearn(folder, KMeans(3, n_init=1, random_state=0).fit(x), x)


@model()
def column_transformer(folder: Path) -> Sample:
    x, y = passengers()
    columns = ColumnTransformer(
        [
            ("names", OneHotEncoder(handle_unknown="ignore"), ["name", "port"]),
            ("numbers", StandardScaler(), ["age", "fare"]),
        ],
        remainder="passthrough",
    )
    return save_sklearn(folder, make_pipeline(columns, LogisticRegression()).fit(x, y), x)


@model()
def text(folder: Path) -> Sample:
    x = pd.DataFrame({"text": ["good wine", "bad vinegar", "très bon", "schlecht ☹"] * 5})
    words = ColumnTransformer([("words", TfidfVectorizer(), "text")])
    fitted = make_pipeline(words, LogisticRegression()).fit(x, [1, 0, 1, 0] * 5)
    return save_sklearn(folder, fitted, x)


@model()
def nulls_allowed(folder: Path) -> Sample:
    x, y = diabetes()
    x = x[["age", "bmi", "bp"]].copy()
    x.iloc[::5, 1] = np.nan
    fitted = HistGradientBoostingRegressor(max_iter=5).fit(x, y)
    columns = [
        ColSpec("double", "age"),
        ColSpec("double", "bmi", required=False),
        ColSpec("float", "bp", required=False),
    ]
    signature = ModelSignature(inputs=Schema(columns))
    return save_sklearn(folder, fitted, x.iloc[1:], signature=signature)


@model()
def no_signature(folder: Path) -> Sample:
    x, y = diabetes()
    fitted = LinearRegression().fit(x.to_numpy(), y)
    saved = save_sklearn(folder, fitted, x, signature=None)
    return Sample(saved.rows, inputs=(x.head(2).to_numpy().tolist(),))


@model()
def no_signature_but_names(folder: Path) -> Sample:
    x, y = diabetes()
    return save_sklearn(folder, GaussianNB().fit(x, y > 100), x, signature=None)


@model()
def tensor(folder: Path) -> Sample:
    x, y = iris()
    array = x.to_numpy()
    fitted = LogisticRegression(max_iter=500).fit(array, y)
    signature = infer_signature(array, fitted.predict(array))
    saved = save_sklearn(folder, fitted, x, signature=signature)
    return Sample(saved.rows, inputs=(array[:1].tolist(), array[::50].tolist()))


@model()
def tensor_of_float32(folder: Path) -> Sample:
    x, y = iris()
    array = x.to_numpy(dtype="float32")
    fitted = LinearRegression().fit(array, y)
    signature = ModelSignature(inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 4))]))
    saved = save_sklearn(folder, fitted, x, signature=signature)
    return Sample(saved.rows, inputs=(array[::60].astype(float).tolist(),))


@model()
def columns_without_names(folder: Path) -> Sample:
    x, y = iris()
    signature = ModelSignature(inputs=Schema([ColSpec("double")] * 4))
    fitted = LinearRegression().fit(x.to_numpy(), y)
    saved = save_sklearn(folder, fitted, x, signature=signature)
    return Sample(saved.rows, inputs=(x.head(2).to_numpy().tolist(),))


@model()
def params(folder: Path) -> Sample:
    x, y = diabetes()
    x = x[["bmi", "bp"]]
    fitted = GaussianProcessRegressor(alpha=0.1, random_state=0).fit(x.head(30), y.head(30))
    signature = infer_signature(x, y.to_numpy(), params={"return_std": False})
    saved = save_sklearn(folder, fitted, x, signature=signature)
    return Sample(saved.rows, params={"return_std": True})


# Boosted trees


@model(single=True)
def xgboost_classifier(folder: Path) -> Sample:
    import xgboost

    x, y = iris()
    fitted = xgboost.XGBClassifier(n_estimators=5, max_depth=2, n_jobs=1).fit(x, y)
    signature = infer_signature(x, fitted.predict(x))
    mlflow.xgboost.save_model(fitted, folder, signature=signature, pip_requirements=[])
    return Sample(rows_of(x))


@model(single=True)
def xgboost_booster(folder: Path) -> Sample:
    import xgboost

    x, y = diabetes()
    data = xgboost.DMatrix(x, y)
    fitted = xgboost.train({"max_depth": 2, "nthread": 1}, data, num_boost_round=5)
    signature = infer_signature(x, fitted.predict(data))
    mlflow.xgboost.save_model(fitted, folder, signature=signature, pip_requirements=[])
    return Sample(rows_of(x))


@model()
def lightgbm_classifier(folder: Path) -> Sample:
    import lightgbm

    x, y = diabetes()
    fitted = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(x, y > 100)
    signature = infer_signature(x, fitted.predict(x))
    mlflow.lightgbm.save_model(fitted, folder, signature=signature, pip_requirements=[])
    return Sample(rows_of(x))


@model()
def lightgbm_booster(folder: Path) -> Sample:
    import lightgbm

    x, y = diabetes()
    settings = {"objective": "regression", "verbose": -1, "num_threads": 1}
    fitted = lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=5)
    signature = infer_signature(x, fitted.predict(x))
    mlflow.lightgbm.save_model(fitted, folder, signature=signature, pip_requirements=[])
    return Sample(rows_of(x))


# ONNX


def _onnx(fitted: Any, columns: int, **options: Any) -> Any:
    from skl2onnx import to_onnx

    return to_onnx(fitted, np.zeros((1, columns), dtype="float32"), **options)


@model(single=True)
def onnx_tensor(folder: Path) -> Sample:
    x, y = iris()
    array = x.to_numpy(dtype="float32")
    fitted = LogisticRegression(max_iter=500).fit(array, y)
    converted = _onnx(fitted, 4, options={"zipmap": False})
    signature = ModelSignature(inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 4))]))
    mlflow.onnx.save_model(converted, folder, signature=signature, pip_requirements=[])
    return Sample(rows_of(x), inputs=(array[::60].astype(float).tolist(),))


@model(single=True)
def onnx_named_tensor(folder: Path) -> Sample:
    x, y = diabetes()
    array = x.to_numpy(dtype="float32")
    converted = _onnx(LinearRegression().fit(array, y), 10)
    signature = ModelSignature(inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 10), "X")]))
    mlflow.onnx.save_model(converted, folder, signature=signature, pip_requirements=[])
    good = array[:2].astype(float).tolist()
    return Sample([{"X": row} for row in good], inputs=({"X": good}, good))


# statsmodels


@model()
def statsmodels_ols(folder: Path) -> Sample:
    import statsmodels.api

    x, y = diabetes()
    x = x[["bmi", "bp", "s5"]]
    fitted = statsmodels.api.OLS(y, x).fit()
    signature = infer_signature(x, fitted.predict(x))
    mlflow.statsmodels.save_model(fitted, folder, signature=signature, pip_requirements=[])
    return Sample(rows_of(x))


# Models of users' own


def save_pyfunc(folder: Path, python_model: Any, inputs: Schema | None = None, **more: Any) -> None:
    """Saves a python_function model, with a signature where there are inputs or params."""
    given = more.pop("params", None)
    signature = ModelSignature(inputs=inputs, params=given) if inputs or given else None
    mlflow.pyfunc.save_model(
        folder, python_model=python_model, signature=signature, pip_requirements=[], **more
    )


NUMBERS = Schema([ColSpec("double", "x"), ColSpec("long", "n")])
NUMBER_ROWS: Rows = [{"x": 1.5, "n": 2}, {"x": -3.0, "n": 0}, {"x": 1e300, "n": 7}]


@model()
def with_code_paths(folder: Path) -> Sample:
    helper = folder.parent / "parity_helper.py"
    helper.write_text("def double(x):\n    return 2 * x\n")
    source = folder.parent / "model.py"
    source.write_text(pyfuncs.FROM_CODE)
    save_pyfunc(folder, str(source), NUMBERS, code_paths=[str(helper)])
    return Sample(NUMBER_ROWS)


@model()
def pre_and_postprocessing(folder: Path) -> Sample:
    save_pyfunc(folder, pyfuncs.PrePost(), Schema([ColSpec("string", "text")]))
    return Sample([{"text": "One Two"}, {"text": "☃ snow"}])


@model()
def returns(folder: Path) -> Sample:
    save_pyfunc(folder, pyfuncs.Returns(), Schema([ColSpec("string", "what")]))
    return Sample([{"what": what} for what in pyfuncs.RETURNS])


@model()
def fails(folder: Path) -> Sample:
    save_pyfunc(folder, pyfuncs.Fails(), Schema([ColSpec("string", "how")]))
    return Sample([{"how": how} for how in pyfuncs.FAILURES])


@model()
def tells_what_it_got(folder: Path) -> Sample:
    save_pyfunc(folder, pyfuncs.Tells(), NUMBERS)
    return Sample(NUMBER_ROWS)


@model()
def tells_without_signature(folder: Path) -> Sample:
    save_pyfunc(folder, pyfuncs.Tells())
    return Sample(NUMBER_ROWS, inputs=("one", 1, [1, 2], {"a": [1, 2]}, {"a": {"b": None}}))


@model()
def all_types(folder: Path) -> Sample:
    columns = [
        ColSpec("boolean", "flag"),
        ColSpec("integer", "integer"),
        ColSpec("long", "long"),
        ColSpec("float", "float"),
        ColSpec("double", "double"),
        ColSpec("string", "string"),
        ColSpec("binary", "binary"),
        ColSpec("datetime", "moment"),
    ]
    save_pyfunc(folder, pyfuncs.Tells(), Schema(columns))
    good = {
        "flag": True,
        "integer": 3,
        "long": 2**40,
        "float": 0.5,
        "double": 0.1,
        "string": "naïve ☃",
        "binary": "aGVsbG8=",
        "moment": "2026-01-31T12:00:00",
    }
    return Sample([good, {**good, "moment": "2026-02-01T00:00:00.123456", "long": -1}])


@model()
def nested_types(folder: Path) -> Sample:
    rows: Rows = [
        {"list": [1.0, 2.0], "object": {"a": 1, "b": "x"}, "matrix": [[1, 2], [3]]},
        {"list": [], "object": {"a": 2, "b": "y"}, "matrix": [[1]]},
    ]
    save_pyfunc(folder, pyfuncs.Tells(), infer_signature(pd.DataFrame(rows)).inputs)
    return Sample(rows, inputs=(rows, rows[0]))


@model()
def named_tensors(folder: Path) -> Sample:
    inputs = Schema(
        [
            TensorSpec(np.dtype("float64"), (-1, 2), "a"),
            TensorSpec(np.dtype("int64"), (-1,), "b"),
        ]
    )
    save_pyfunc(folder, pyfuncs.Tells(), inputs)
    rows: Rows = [{"a": [1.0, 2.0], "b": 1}, {"a": [3.5, 4.0], "b": 2}]
    return Sample(rows, inputs=({"a": [[1.0, 2.0], [3.5, 4.0]], "b": [1, 2]},))


@model()
def many_params(folder: Path) -> Sample:
    specs = [
        ParamSpec("text", "string", "t"),
        ParamSpec("count", "long", 3),
        ParamSpec("small", "integer", 4),
        ParamSpec("share", "double", 0.5),
        ParamSpec("single", "float", 0.25),
        ParamSpec("flag", "boolean", False),
        ParamSpec("moment", "datetime", np.datetime64("2026-01-01T00:00:00")),
        ParamSpec("list", "double", [1.0, 2.0], (-1,)),
    ]
    save_pyfunc(folder, pyfuncs.TellsParams(), NUMBERS, params=ParamSchema(specs))
    good = {
        "text": "ü",
        "count": 2,
        "small": 1,
        "share": 1,
        "single": 0.5,
        "flag": True,
        "moment": "2026-03-01T10:00:00",
        "list": [0.5],
    }
    return Sample(NUMBER_ROWS, params=good)


@model()
def streaming(folder: Path) -> Sample:
    save_pyfunc(folder, pyfuncs.Streams(), NUMBERS)
    return Sample(NUMBER_ROWS)


@model()
def type_hints(folder: Path) -> Sample:
    mlflow.pyfunc.save_model(folder, python_model=pyfuncs.Hinted(), pip_requirements=[])
    people = [{"name": "Ada", "age": 36}, {"name": "Bo", "age": 1, "tags": ["x"]}]
    return Sample(people, inputs=(people,))


@model()
def chat(folder: Path) -> Sample:
    mlflow.pyfunc.save_model(folder, python_model=pyfuncs.Chat(), pip_requirements=[])
    messages = [{"role": "user", "content": "Hi ☃"}]
    bodies: tuple[dict[str, Any], ...] = (
        {"messages": messages},
        {"messages": messages, "temperature": 0.5, "max_tokens": 5},
        {"messages": messages, "custom_inputs": {"a": 1}},
        {"messages": messages, "temperature": "hot"},
        {"messages": []},
        {"messages": [{"role": "user"}]},
        {"messages": "Hi"},
    )
    return Sample(unified=bodies)


@model()
def chat_agent(folder: Path) -> Sample:
    mlflow.pyfunc.save_model(folder, python_model=pyfuncs.Agent(), pip_requirements=[])
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Hi ☃"}]
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "seen", "name": "f", "tool_call_id": "1"},
    ]
    bodies: tuple[dict[str, Any], ...] = (
        {"messages": messages},
        {"messages": [*tools, *messages], "context": {"user_id": "anna"}},
        {"messages": messages, "custom_inputs": {"a": {"b": [1, None]}}, "stream": False},
        {"messages": messages, "context": {"user_id": 5}},
        {"messages": [{"role": "tool", "content": "seen"}]},
        {"messages": [{"content": "Hi"}]},
        {"messages": {}},
    )
    return Sample(unified=bodies)


@model()
def responses_agent(folder: Path) -> Sample:
    mlflow.pyfunc.save_model(folder, python_model=pyfuncs.Responder(), pip_requirements=[])
    said: list[dict[str, Any]] = [{"role": "user", "content": "Hi ☃"}]
    parts = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
    bodies: tuple[dict[str, Any], ...] = (
        {"input": said},
        {"input": parts, "temperature": 1, "max_output_tokens": 5},
        {"input": said, "context": {"user_id": "anna"}, "custom_inputs": {"a": {"b": 1}}},
        {"input": said, "metadata": {"a": "b"}, "stream": False},
        {"input": [{"role": "nobody", "content": "Hi"}]},
        {"input": [{"role": "user"}]},
        {"input": []},
        {"input": {}},
    )
    return Sample(unified=bodies)


@model()
def unified_without_signature(folder: Path) -> Sample:
    save_pyfunc(folder, pyfuncs.TellsParams(), params=ParamSchema([ParamSpec("n", "long", 1)]))
    return Sample(unified=({"messages": [], "n": 5}, {"messages": [1], "max_tokens": 5}))


# These need an environment of their own.
if find_spec("torch") and find_spec("tensorflow"):
    importlib.import_module("tests.parity.deep_models")
