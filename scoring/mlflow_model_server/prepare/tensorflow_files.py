"""SavedModels of TensorFlow, and files of Keras: what loading them does.

A SavedModel is a graph, which computes, and can read and write files. A `.keras` file describes
layers by the names of modules and classes, which Keras imports; some layers have code of their own.
So only Keras' own classes are let through here, by what they are called.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow_model_server.prepare.model_folder import (
    FormatUse,
    ModelFolder,
    UnsafeModel,
    anything,
)

_MODULES_OF_KERAS = {"keras", "tensorflow.keras", "keras._tf_keras.keras", "keras.api._v2.keras"}
_MAX_TEXT = 1 << 10  # bytes of a file with a name
_MAX_CONFIG = 1 << 26
# From which a model's parts come. Of `keras.models` not everything: load_model is there.
_PARTS = {
    *("activations", "constraints", "dtype_policies", "initializers", "layers", "losses"),
    *("metrics", "optimizers", "optimizers.schedules", "regularizers"),
}
# Operations that are not of a layer, like the sum of two outputs.
_OPERATIONS = {f"keras.src.ops.{part}" for part in ("linalg", "math", "nn", "numpy")}
_MODULES = {f"keras.{part}" for part in _PARTS} | _OPERATIONS
_MODEL_MODULES = {
    *("keras", "keras.models", "keras.src.models.functional", "keras.src.models.sequential"),
    "keras.src.models.model",
}
_MODELS = {"Sequential", "Functional", "Model", "DTypePolicy", "FloatDTypePolicy"}
_MODULES_OF_FUNCTIONS = {"builtins", "keras.activations", "keras.losses", "keras.metrics"}
# They have code, a pickle, or the path of a model.
_FORBIDDEN = {"Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}
_VALUES = {
    *("__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__tuple__", "__ellipsis__"),
    *("__slice__", "__complex__", "__none__", "__typespec__"),
}
_CLASS = re.compile(r"[A-Z]\w*")
# Where layers have a list of words, or the path of a file with one.
_VOCABULARIES = ("vocabulary", "idf_weights")


def of_tensorflow(model: ModelFolder) -> Iterator[FormatUse]:
    """What mlflow.tensorflow loads."""
    field = "flavors.tensorflow.model_type"
    kind = model.flavor.get("model_type", "tf1-estimator")
    if kind == "keras":
        data = "flavors.python_function.data"
        yield from _keras_folder(model, model.folder(model.function.get("data"), data))
    elif kind not in ("tf1-estimator", "tf2-module"):
        yield from anything(field)
    elif "data" in model.function:
        # MLflow would look for the SavedModel below that.
        yield from anything("flavors.python_function.data")
    else:
        saved = "flavors.tensorflow.saved_model_dir"
        yield from _saved_model(model, model.folder(model.flavor.get("saved_model_dir"), saved))


def of_keras(model: ModelFolder) -> Iterator[FormatUse]:
    """What mlflow.keras loads, which is of Keras 3."""
    if "data" in model.function:
        yield from anything("flavors.python_function.data")
    folder = model.folder(model.flavor.get("data", "model"), "flavors.keras.data")
    if model.flavor.get("save_exported_model"):
        yield from _saved_model(model, folder / "model")
    else:
        yield from _keras_file(model, folder / "model.keras")


def _saved_model(model: ModelFolder, folder: Path) -> Iterator[FormatUse]:
    if (folder / "saved_model.pb").is_file():
        yield FormatUse("tensorflow", model.shown(folder))
    else:
        yield from anything(f"{model.shown(folder)}, which has no saved_model.pb,")


def _keras_folder(model: ModelFolder, folder: Path) -> Iterator[FormatUse]:
    module = folder / "keras_module.txt"
    if module.exists() and _line(module) not in _MODULES_OF_KERAS:
        yield from anything(model.shown(module))
    written = folder / "save_format.txt"
    # Keras does not look for code in HDF5, nor in its own kind of a SavedModel.
    if not written.is_file() or _line(written) == "h5" or not (folder / "model.keras").exists():
        yield from anything(f"{model.shown(folder)}, a model of Keras that is no .keras file,")
    else:
        yield from _keras_file(model, folder / "model.keras")


def _line(file: Path) -> str:
    if not file.is_file():
        return ""
    with file.open("rb") as content:
        return content.read(_MAX_TEXT).decode("utf-8", "replace")


def _keras_file(model: ModelFolder, file: Path) -> Iterator[FormatUse]:
    shown = model.shown(file)
    for problem in _problems(_config(shown, file)):
        yield from anything(f"{shown}, with {problem},")
        return
    yield FormatUse("keras", shown)


def _config(shown: str, file: Path) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if any(name.startswith("/") or ".." in name.split("/") for name in names):
                raise UnsafeModel(f"{shown} has files that lead out of it")
            if (
                len(set(names)) < len(names)
                or archive.getinfo("config.json").file_size > _MAX_CONFIG
            ):
                raise UnsafeModel(f"{shown} can't be read as a file of Keras")
            return json.loads(archive.read("config.json"))
    except UnsafeModel:
        raise
    except Exception:  # a hostile file may have it raise anything
        raise UnsafeModel(f"{shown} can't be read as a file of Keras") from None


def _problems(config: Any) -> Iterator[str]:
    """What Keras would not only compute with."""
    level = [config]
    while level:
        part = level.pop()
        if isinstance(part, list):
            level.extend(part)
        elif isinstance(part, dict):
            level.extend(part.values())
            if "class_name" in part:
                yield from _problems_of_class(part["class_name"], part.get("module"))
            yield from (
                f"the path of a file as {name}"
                for name in _VOCABULARIES
                if isinstance(part.get(name), str)
            )


def _problems_of_class(name: Any, module: Any) -> Iterator[str]:
    if not isinstance(name, str) or not isinstance(module, str | None):
        is_known = False
    elif name in _VALUES:
        is_known = True
    elif name == "function":
        is_known = module is None or module in _MODULES_OF_FUNCTIONS
    elif module in _MODEL_MODULES:
        is_known = name in _MODELS
    else:
        # Without a module it is what Keras itself has registered, or nothing.
        is_known = (module is None or module in _MODULES) and bool(_CLASS.fullmatch(name))
    if not is_known or name in _FORBIDDEN:
        yield "a layer or function that is not of the known ones of Keras"
