"""Which formats the files of a model have, by its MLmodel file and the files themselves.

For policies that allow some formats only (ALLOWED_FORMATS). Nothing of the model is loaded. What
can't be classified counts as what may do anything: as code and as a pickle at once.

MLflow reads most files by what the MLmodel file says of them, and that was written by whoever
registered the model. So each rule here follows what MLflow's loader of the flavor would do.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlflow_model_server.prepare import onnx_files, tensorflow_files, transformers_files
from mlflow_model_server.prepare.model_folder import (
    FormatUse,
    ModelFolder,
    UnsafeModel,
    anything,
    mapping,
    quoted,
    text,
)
from mlflow_model_server.runtime import pickle_switch
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings

_PICKLES = {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".cloudpickle", ".dill"}
_LIBRARIES = {".so", ".dll", ".dylib", ".pyd"}
# What MLflow's loaders import, or call, by a name in the MLmodel file.
_XGBOOST_CLASSES = {
    "xgboost.core.Booster",
    *(f"xgboost.sklearn.XGB{name}" for name in ("Model", "Classifier", "Regressor", "Ranker")),
    *(f"xgboost.sklearn.XGBRF{name}" for name in ("Classifier", "Regressor")),
}
_METHODS = {"predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba", "score"}
_FIELDS = {
    *("loader_module", "data", "model_path", "env", "python_version", "predict_fn", "streamable"),
    *("code", "model_code_path"),
}
_PYTHON_MODELS = {
    "mlflow.pyfunc.model",
    *(f"mlflow.pyfunc.loaders.{name}" for name in ("chat_agent", "chat_model", "code_model")),
    "mlflow.pyfunc.loaders.responses_agent",
}
_PICKLED_FLAVORS = {"statsmodels", "pmdarima"}


def check(settings: Settings, mlmodel: dict[str, Any]) -> None:
    """Raises StartupError with PolicyDenied for a model with a format that is not allowed.

    Leaves a note of the formats for the server, which pickle_switch.py reads.
    """
    pickle_switch.forget(settings)
    if not settings.allowed_formats:
        return
    allowed = ", ".join(settings.allowed_formats)
    try:
        uses = list(classify(settings.artifact, mlmodel))
    except UnsafeModel as error:
        raise StartupError(
            "PolicyDenied", f"{error}; only models of the formats {allowed} are allowed"
        ) from None
    for use in uses:
        if use.format not in settings.allowed_formats:
            raise StartupError(
                "PolicyDenied",
                f"{use.where} has the format {use.format}, but only {allowed} are "
                "allowed: nothing of the model was loaded",
            )
    pickle_switch.note(settings, {use.format for use in uses})


def classify(folder: Path, mlmodel: dict[str, Any]) -> Iterator[FormatUse]:
    """The formats of all that loading the model would read. Raises UnsafeModel."""
    model = ModelFolder(folder, mlmodel)
    yield from _of_files(model.root)
    yield from _of_code(model)
    yield from _of_flavor(model)


def _of_files(root: Path) -> Iterator[FormatUse]:
    """The formats of files that are of one wherever they are; refuses what leads elsewhere."""
    for folder, folders, files in os.walk(root, onerror=_raise):
        for path in (Path(folder, name) for name in (*folders, *files)):
            shown = quoted(path.relative_to(root))
            _check_file(root, path, shown)
            ending = path.suffix.lower()
            if ending in _PICKLES:
                yield FormatUse("pickle", shown)
            if ending in _LIBRARIES:
                yield FormatUse("code", shown)


def _check_file(root: Path, path: Path, shown: str) -> None:
    if path.is_symlink():
        raise UnsafeModel(f"{shown} is a link: put the file itself into the model's folder")
    mode = path.lstat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UnsafeModel(f"{shown} is neither a file nor a folder")
    if path.name == "MLmodel" and path.parent != root:
        raise UnsafeModel(f"{shown} is a second MLmodel file")


def _raise(error: OSError) -> None:
    raise UnsafeModel(f"The model's folder can't be read: {error.strerror}")


def _of_code(model: ModelFolder) -> Iterator[FormatUse]:
    """Code that comes with the model, and fields whose effect is not established."""
    for name, flavor in model.flavors.items():
        for field in ("code", "model_code_path"):
            if flavor.get(field):
                yield FormatUse("code", f"flavors.{quoted(name)}.{field}")
        if name not in ("python_function", model.name):
            yield from anything(f"flavors.{quoted(name)}, a second flavor,")
    if model.loader in _PYTHON_MODELS:
        return
    for field in model.function.keys() - _FIELDS:
        yield from anything(f"flavors.python_function.{quoted(field)}")
    if model.function.get("streamable"):
        yield from anything("flavors.python_function.streamable")
    method = text(model.function.get("predict_fn", "predict"), "predict_fn")
    if method not in _METHODS:
        yield from anything("flavors.python_function.predict_fn")


def _of_flavor(model: ModelFolder) -> Iterator[FormatUse]:
    field = f"flavors.python_function.loader_module {quoted(model.loader)}"
    if model.loader in _PYTHON_MODELS:
        yield from _python_model(model)
    elif model.name in _PICKLED_FLAVORS:
        yield FormatUse("pickle", field)
    elif model.name in _BY_FLAVOR:
        yield from _BY_FLAVOR[model.name](model)
    else:
        yield from anything(field)


def _python_model(model: ModelFolder) -> Iterator[FormatUse]:
    if "model_code_path" in model.function:
        # MLflow reads no pickle of its own then, but the code may read whatever it likes.
        yield FormatUse("code", "flavors.python_function.model_code_path")
    if "model_code_path" not in model.function or "python_model" in model.function:
        yield FormatUse("pickle", quoted(model.function.get("python_model") or "python_model"))


def _sklearn(model: ModelFolder) -> Iterator[FormatUse]:
    field = "data" if "data" in model.function else "model_path"
    path = model.file(model.function.get(field), f"flavors.python_function.{field}")
    yield _of_estimator(model, path, default="pickle")


def _of_estimator(model: ModelFolder, path: Path, default: str) -> FormatUse:
    """A file that MLflow's loader of scikit-learn's models reads."""
    written = model.flavor.get("serialization_format", default)
    if written != "skops":
        return FormatUse("pickle", path.name)
    untrusted = _untrusted_types(path)
    if untrusted:
        # The model's own list of trusted types would have skops import and call them.
        types = quoted(", ".join(untrusted))
        return FormatUse("pickle", f"{path.name}, with types that skops does not trust ({types}),")
    return FormatUse("skops", path.name)


def _untrusted_types(path: Path) -> list[str]:
    try:
        from skops.io import get_untrusted_types  # type: ignore[import-untyped]
    except ImportError:
        raise UnsafeModel(f"{path.name} can't be checked: the image has no skops") from None
    try:
        return list(get_untrusted_types(file=path))
    except Exception:  # a hostile file may have it raise anything
        raise UnsafeModel(f"{path.name} can't be read as skops") from None


def _xgboost(model: ModelFolder) -> Iterator[FormatUse]:
    _check_data(model)
    path = model.file(model.flavor.get("data"), "flavors.xgboost.data")
    name = model.flavor.get("model_class", "xgboost.core.Booster")
    if not isinstance(name, str) or name not in _XGBOOST_CLASSES:
        yield from anything("flavors.xgboost.model_class")
    yield from _by_ending("xgboost", path, {".json", ".ubj", ".xgb"})


def _lightgbm(model: ModelFolder) -> Iterator[FormatUse]:
    _check_data(model)
    path = model.file(model.flavor.get("data"), "flavors.lightgbm.data")
    if model.flavor.get("model_class", "lightgbm.basic.Booster") == "lightgbm.basic.Booster":
        yield from _by_ending("lightgbm", path, {".txt", ".lgb"})
    else:
        yield _of_estimator(model, path, default="cloudpickle")


def _catboost(model: ModelFolder) -> Iterator[FormatUse]:
    model.file(model.function.get("data"), "flavors.python_function.data")
    if model.flavor.get("save_format") in ("cbm", "json"):
        yield FormatUse("catboost", "flavors.catboost.save_format")
    else:
        yield from anything("flavors.catboost.save_format")


def _onnx(model: ModelFolder) -> Iterator[FormatUse]:
    path = model.file(model.function.get("data"), "flavors.python_function.data")
    yield from _by_ending("onnx", path, {".onnx"})
    # Options of providers, and of sessions, name libraries to load.
    providers = model.flavor.get("providers") or []
    if not isinstance(providers, list) or not all(type(each) is str for each in providers):
        yield FormatUse("code", "flavors.onnx.providers")
    options = model.flavor.get("onnx_session_options") or {}
    if mapping(options, "flavors.onnx.onnx_session_options").get("extra_session_config"):
        yield FormatUse("code", "flavors.onnx.onnx_session_options.extra_session_config")
    try:
        problem = onnx_files.problem_of(path)
    except (ValueError, OSError):
        raise UnsafeModel(f"{path.name} can't be read as ONNX") from None
    if problem:
        raise UnsafeModel(f"{path.name} {problem}")


def _pytorch(model: ModelFolder) -> Iterator[FormatUse]:
    field = "flavors.pytorch.serialization_format"
    if model.flavor.get("serialization_format") != "pt2":
        yield FormatUse("pickle", f"{field}, other than pt2,")
    else:
        # MLflow itself looks into the archive, unless pickles are allowed anyway.
        yield FormatUse("torch-export", field)
    if next(model.root.rglob("pickle_module_info.txt"), None) is not None:
        yield from anything("pickle_module_info.txt")
    data = text(model.function.get("data"), "flavors.python_function.data")
    if not (model.root / data).resolve().is_relative_to(model.root):
        raise UnsafeModel(
            "flavors.python_function.data in MLmodel leads outside the model's folder"
        )


def _check_data(model: ModelFolder) -> None:
    """Where python_function names a file, MLflow looks for MLmodel beside that."""
    if "data" in model.function:
        model.file(model.function["data"], "flavors.python_function.data")


def _by_ending(name: str, path: Path, endings: set[str]) -> Iterator[FormatUse]:
    if path.suffix.lower() in endings:
        yield FormatUse(name, path.name)
    else:
        yield from anything(quoted(path.name))


_BY_FLAVOR: dict[str, Callable[[ModelFolder], Iterator[FormatUse]]] = {
    "sklearn": _sklearn,
    "onnx": _onnx,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "pytorch": _pytorch,
    "tensorflow": tensorflow_files.of_tensorflow,
    "keras": tensorflow_files.of_keras,
    "transformers": transformers_files.of_transformers,
}
