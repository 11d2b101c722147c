"""Whether a model runs nothing but the code of well-known libraries when it predicts.

The time that such code takes depends on its input only. Users' own code may wait for a service,
read a file, or change global state, whatever it did before.
"""

from __future__ import annotations

import functools
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

# Of objects and functions inside scikit-learn's estimators and PyTorch's modules.
_LIBRARIES = frozenset(
    {
        *("builtins", "collections", "datetime", "decimal", "fractions", "functools", "itertools"),
        *("math", "numbers", "operator", "random", "re"),
        *("joblib", "numpy", "pandas", "scipy", "sklearn", "catboost", "lightgbm", "xgboost"),
        "torch",
        # As which some of scikit-learn's extension modules introduce themselves.
        *("_csparsetools", "_loss"),
    }
)
# Their models are data for the library: functions in them are not called for a prediction.
_DATA_ONLY = frozenset({"mlflow.catboost", "mlflow.lightgbm", "mlflow.onnx", "mlflow.xgboost"})
# Their models are objects in which users' own code may be.
_OF_OBJECTS = {"mlflow.pytorch": "torch.", "mlflow.sklearn": ""}
_PLAIN = (str, bytes, bool, int, float, complex, type(None), np.generic)
_MAX_OBJECTS = 1_000_000
# What has a module of its own, beside that of its type.
_WITH_MODULE = (type, types.FunctionType, types.BuiltinFunctionType)


def runs_known_code_only(model: Any) -> bool:
    """Whether a PyFuncModel's predictions run no code but that of well-known libraries.

    False where in doubt.
    """
    if model.loader_module in _DATA_ONLY:
        return True
    module = _OF_OBJECTS.get(model.loader_module)
    if module is None:
        return False
    raw = model.get_raw_model()
    return type(raw).__module__.startswith(module) and is_library_code(raw)


def is_library_code(estimator: Any) -> bool:
    """Whether an estimator, and all objects and functions in it, are of well-known libraries."""
    reached: set[int] = set()
    queue = deque([estimator])
    while queue:
        item = queue.popleft()
        if isinstance(item, _PLAIN) or id(item) in reached:
            continue
        reached.add(id(item))
        if len(reached) > _MAX_OBJECTS or not _is_of_library(item):
            return False
        queue.extend(_contents(item))
    return True


def _is_of_library(item: Any) -> bool:
    owner = item if isinstance(item, _WITH_MODULE) else type(item)
    return str(owner.__module__ or "builtins").partition(".")[0] in _LIBRARIES


def _contents(item: Any) -> Iterator[Any]:
    if isinstance(item, type):
        return
    if isinstance(item, functools.partial):
        yield from (item.func, item.args, item.keywords)
    if isinstance(item, types.MethodType):
        yield from (item.__self__, item.__func__)
    if isinstance(item, dict):
        yield from item.keys()
        yield from item.values()
    elif isinstance(item, list | tuple | set | frozenset):
        yield from item
    elif isinstance(item, np.ndarray):
        if item.dtype.kind == "O":
            yield from item.flat
    elif hasattr(item, "__dict__") and not isinstance(item, types.FunctionType):
        yield from vars(item).values()
