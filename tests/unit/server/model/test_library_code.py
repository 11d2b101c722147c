"""Which models run nothing but the code of well-known libraries."""

from __future__ import annotations

import functools
import os
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mlflow_model_server.model.library_code import runs_known_code_only

X, Y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2


class OwnStep(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    def fit(self, x: Any, y: Any = None) -> OwnStep:
        return self

    def transform(self, x: Any) -> Any:
        return x


class OwnRegression(LinearRegression):  # type: ignore[misc]
    """A subclass, whose `predict` may do anything."""


class NoEstimator:
    """Has the methods of a step, and none of scikit-learn's base classes."""

    fit = OwnStep.fit
    transform = OwnStep.transform


def own_function(x: Any) -> Any:
    return x


def model_of(estimator: Any, loader: str = "mlflow.sklearn") -> Any:
    return SimpleNamespace(loader_module=loader, get_raw_model=lambda: estimator)


@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression().fit(X, Y),
        RandomForestClassifier(120).fit(X, Y),
        HistGradientBoostingClassifier().fit(X, Y),
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y),
        make_pipeline(FunctionTransformer(np.log1p)),
        make_pipeline(FunctionTransformer(functools.partial(np.clip, a_min=0, a_max=1))),
        CountVectorizer().fit(["one two", "three"]),
    ],
    ids=lambda estimator: str(estimator)[:40],
)
def test_scikit_learn_s_own_code_is_trusted(estimator: Any) -> None:
    assert runs_known_code_only(model_of(estimator))


@pytest.mark.parametrize(
    "estimator",
    [
        OwnRegression(),
        make_pipeline(OwnStep(), LogisticRegression()),
        make_pipeline(NoEstimator(), LogisticRegression()),
        make_pipeline(FunctionTransformer(own_function)),
        make_pipeline(FunctionTransformer(functools.partial(own_function))),
        make_pipeline(FunctionTransformer(OwnStep().transform)),
        make_pipeline(FunctionTransformer(os.path.getsize)),
        make_pipeline(FunctionTransformer(time.sleep)),
        KNeighborsClassifier(metric=own_function),
        CountVectorizer(tokenizer=own_function),
        ColumnTransformer([("own", OwnStep(), [0])]),
        # Many are in it, and the last is another.
        StackingClassifier(
            [*((str(i), LogisticRegression()) for i in range(150)), ("own", OwnStep())]
        ),
    ],
    ids=lambda estimator: str(estimator)[:40],
)
def test_anything_of_the_user_s_is_not(estimator: Any) -> None:
    assert not runs_known_code_only(model_of(estimator))


def test_a_method_of_the_user_s_on_a_trusted_estimator_is_not() -> None:
    estimator = LinearRegression().fit(X, Y)
    estimator.predict = own_function
    assert not runs_known_code_only(model_of(estimator))


@pytest.mark.parametrize(
    ("loader", "trusted"),
    [
        ("mlflow.xgboost", True),
        ("mlflow.lightgbm", True),
        ("mlflow.onnx", True),
        ("mlflow.pytorch", False),
        ("mlflow.tensorflow", False),
        ("mlflow.pyfunc.model", False),
    ],
)
def test_flavors_whose_models_are_data_are_trusted(loader: str, trusted: bool) -> None:
    assert runs_known_code_only(model_of(object(), loader)) is trusted


def module(name: str, of: str, **values: Any) -> Any:
    """An object as PyTorch's modules look, of a class in another module."""
    made = type(name, (), {"__module__": of})()
    made.__dict__.update({"_forward_hooks": {}, "_modules": {}, **values})
    return made


@pytest.mark.parametrize(
    ("layers", "hooks", "trusted"),
    [
        (["torch.nn.modules.linear", "torch.nn.modules.activation"], {}, True),
        (["torch.nn.modules.linear", "__main__"], {}, False),
        (["torch.nn.modules.linear", "my_layers"], {}, False),
        (["torch.nn.modules.linear"], {1: own_function}, False),
    ],
)
def test_networks_of_pytorch_s_own_layers_are_trusted(
    layers: list[str], hooks: dict[int, Any], trusted: bool
) -> None:
    parts = {str(i): module("Layer", of) for i, of in enumerate(layers)}
    whole = module("Sequential", "torch.nn.modules.container", _modules=parts, _forward_hooks=hooks)
    assert runs_known_code_only(model_of(whole, "mlflow.pytorch")) is trusted
    own = module("Net", "my_net", _modules=parts)
    assert not runs_known_code_only(model_of(own, "mlflow.pytorch"))
