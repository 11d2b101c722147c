"""Formats of models of TensorFlow, Keras and transformers, in files as their libraries write them.

None of the libraries is there: what is read is what MLflow's loaders would read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlflow_model_server.settings import Settings
from tests.unit.server.prepare.test_formats import change, classified, denial, write

DENSE = {
    "module": "keras.layers",
    "class_name": "Dense",
    "config": {
        "units": 2,
        "activation": "relu",
        "dtype": {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}},
        "kernel_initializer": {
            "module": "keras.initializers",
            "class_name": "GlorotUniform",
            "config": {"seed": None},
            "registered_name": None,
        },
    },
    "registered_name": None,
}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    config = {"name": "sequential", "layers": layers or (DENSE,)}
    return {"module": "keras", "class_name": "Sequential", "config": config}


def write_keras(file: Path, config: Any, **others: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.14.0"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", b"")
        for name, content in others.items():
            archive.writestr(name, content)


def save_keras(path: Path, config: Any = None) -> None:
    """As mlflow.keras does."""
    write(
        path,
        python_function={"loader_module": "mlflow.keras"},
        keras={"data": "data", "keras_version": "3.14.0", "save_exported_model": False},
    )
    write_keras(path / "data" / "model.keras", config or sequential())


def save_exported_keras(path: Path) -> None:
    save_keras(path)
    change(path, "keras", save_exported_model=True)
    (path / "data" / "model").mkdir()
    (path / "data" / "model" / "saved_model.pb").write_bytes(b"")


def save_tensorflow_keras(path: Path) -> None:
    """As mlflow.tensorflow does for a model of Keras."""
    write(
        path,
        python_function={"loader_module": "mlflow.tensorflow", "data": "data"},
        tensorflow={"data": "data", "model_type": "keras", "save_format": "tf"},
    )
    write_keras(path / "data" / "model.keras", sequential())
    (path / "data" / "keras_module.txt").write_text("keras._tf_keras.keras")
    (path / "data" / "save_format.txt").write_text("tf")


def save_tensorflow(path: Path) -> None:
    write(
        path,
        python_function={"loader_module": "mlflow.tensorflow"},
        tensorflow={"saved_model_dir": "tf2model", "model_type": "tf2-module"},
    )
    (path / "tf2model").mkdir()
    (path / "tf2model" / "saved_model.pb").write_bytes(b"")


def save_transformers(path: Path) -> None:
    write(
        path,
        python_function={"loader_module": "mlflow.transformers"},
        transformers={
            "task": "text-classification",
            "instance_type": "TextClassificationPipeline",
            "framework": "pt",
            "pipeline_model_type": "DistilBertForSequenceClassification",
            "source_model_name": "distilbert",
            "model_binary": "model",
            "components": ["tokenizer"],
            "tokenizer_type": "DistilBertTokenizer",
            "torch_dtype": "torch.float32",
            "transformers_version": "5.24.0",
            "code": None,
        },
    )
    parts = path / "components" / "tokenizer"
    parts.mkdir(parents=True)
    (path / "model").mkdir()
    (path / "model" / "model.safetensors").write_bytes(b"")
    (path / "model" / "config.json").write_text('{"architectures": ["DistilBert"]}')
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (parts / name).write_text("{}")


SAVED: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "keras": (save_keras, {"keras"}),
    "exported keras": (save_exported_keras, {"tensorflow"}),
    "keras by tensorflow": (save_tensorflow_keras, {"keras"}),
    "tensorflow": (save_tensorflow, {"tensorflow"}),
    "transformers": (save_transformers, {"safetensors"}),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logged"


@pytest.mark.parametrize("name", SAVED)
def test_formats_of_logged_models(path: Path, settings: Settings, name: str) -> None:
    save, expected = SAVED[name]
    save(path)
    assert classified(path) == expected
    assert "nothing of the model was loaded" in denial(path, settings, "onnx")


def test_keras_with_operations_between_layers(path: Path) -> None:
    """As Keras 3.15 writes `Dense(2)(x) + 1.0`."""
    add = {"module": "keras.src.ops.numpy", "class_name": "Add", "config": {"name": "add"}}
    functional = {"module": "keras.src.models.functional", "class_name": "Functional"}
    save_keras(path, {**functional, "config": {"layers": [DENSE, add]}})
    assert classified(path) == {"keras"}


@pytest.mark.parametrize(
    "layer",
    [
        {"module": "keras.layers", "class_name": "Lambda"},
        {"module": None, "class_name": "Lambda"},
        {"class_name": "Lambda"},
        {"class_name": "__lambda__", "config": {"value": "abc"}},
        {"module": "keras.layers", "class_name": "TorchModuleWrapper"},
        {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/x"}},
        {"module": "os", "class_name": "System"},
        {"module": "builtins", "class_name": "Exec"},
        {"module": "my.package", "class_name": "Layer"},
        {"module": "keras.src.ops.core", "class_name": "Map"},
        {"module": "keras.src.saving.saving_api", "class_name": "Load"},
        {"module": "keras.utils", "class_name": "get_file"},
        {"module": "keras.utils", "class_name": "function", "config": "get_file"},
        {"module": "keras.models", "class_name": "load_model"},
        {"module": "keras.layers", "class_name": "deserialize"},
        {"module": "keras.layers", "class_name": ["Dense"]},
        {"module": ["keras.layers"], "class_name": "Dense"},
        {"module": {"a": 1}, "class_name": "function"},
        {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/x"}},
        {
            "module": "keras.layers",
            "class_name": "Dense",
            "config": {
                "activation": {"module": "os", "class_name": "function", "config": "system"}
            },
        },
    ],
    ids=str,
)
def test_keras_with_more_than_its_own_layers(
    path: Path, settings: Settings, layer: dict[str, Any]
) -> None:
    save_keras(path, sequential(DENSE, layer))
    assert classified(path) == {"code", "pickle"}
    assert "model.keras, with " in denial(path, settings)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x"])
def test_keras_with_files_elsewhere(path: Path, settings: Settings, name: str) -> None:
    save_keras(path)
    write_keras(path / "data" / "model.keras", sequential(), **{name: ""})
    assert "lead out of it" in denial(path, settings)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04"])
def test_what_is_no_file_of_keras(path: Path, settings: Settings, content: bytes) -> None:
    save_keras(path)
    (path / "data" / "model.keras").write_bytes(content)
    assert "can't be read as a file of Keras" in denial(path, settings)


@pytest.mark.parametrize(
    ("name", "content"),
    [("keras_module.txt", "os"), ("keras_module.txt", "keras\n"), ("save_format.txt", "h5")],
)
def test_keras_by_another_module_or_format(
    path: Path, settings: Settings, name: str, content: str
) -> None:
    save_tensorflow_keras(path)
    (path / "data" / name).write_text(content)
    assert "has the format code" in denial(path, settings)


@pytest.mark.parametrize("name", ["keras_module.txt", "save_format.txt", "model.keras"])
def test_keras_with_folders_instead_of_files(path: Path, settings: Settings, name: str) -> None:
    save_tensorflow_keras(path)
    (path / "data" / name).unlink()
    (path / "data" / name).mkdir()
    denial(path, settings)


def test_keras_with_a_damaged_archive(path: Path, settings: Settings) -> None:
    save_keras(path)
    file = path / "data" / "model.keras"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(sequential(*[DENSE] * 20)))
    content = bytearray(file.read_bytes())
    content[60:90] = b"\xff" * 30
    file.write_bytes(content)
    assert "can't be read as a file of Keras" in denial(path, settings)


def test_keras_with_objects_in_a_pickle(path: Path, settings: Settings) -> None:
    save_tensorflow_keras(path)
    (path / "data" / "custom_objects.cloudpickle").write_bytes(b"")
    assert "custom_objects.cloudpickle has the format pickle" in denial(path, settings)


def test_keras_as_a_saved_model_has_code(path: Path, settings: Settings) -> None:
    save_tensorflow_keras(path)
    (path / "data" / "model.keras").unlink()
    (path / "data" / "model").mkdir()
    assert "no .keras file" in denial(path, settings)


@pytest.mark.parametrize(
    ("flavor", "fields"),
    [
        ("tensorflow", {"saved_model_dir": "../x"}),
        ("tensorflow", {"saved_model_dir": None}),
        ("tensorflow", {"saved_model_dir": "missing"}),
        ("tensorflow", {"model_type": "other"}),
        ("tensorflow", {"model_type": "keras"}),
        ("python_function", {"data": "tf2model"}),
        ("keras", {"model_type": "keras"}),
    ],
    ids=str,
)
def test_hostile_fields_of_tensorflow(
    path: Path, settings: Settings, flavor: str, fields: dict[str, Any]
) -> None:
    save_tensorflow(path)
    change(path, flavor, **fields)
    denial(path, settings)


@pytest.mark.parametrize(
    "fields",
    [
        {"model_binary": "../model"},
        {"model_binary": None},
        {"source_model_revision": "abc"},
        {"local_base_model_path": "/models"},
        {"peft_adaptor": "peft"},
        {"pipeline_model_type": "pipeline"},
        {"pipeline_model_type": None},
        {"tokenizer_type": "x.y"},
        {"components": ["../x"]},
        {"components": "tokenizer"},
        {"components": [["tokenizer"]]},
        {"components": [{"a": 1}]},
        {"new_field": 1},
    ],
    ids=str,
)
def test_hostile_fields_of_transformers(
    path: Path, settings: Settings, fields: dict[str, Any]
) -> None:
    save_transformers(path)
    change(path, "transformers", **fields)
    denial(path, settings)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model/pytorch_model.bin", ""),
        ("model/modeling_own.py", ""),
        ("model/weights.h5", ""),
        ("model/adapter_config.json", "{}"),
        ("model/config.json", '{"auto_map": {"AutoModel": "modeling_own.Own"}}'),
        ("model/config.json", '{"text_config": {"auto\\u005fmap": {}}}'),
        ("model/config.json", '{"attn_implementation": "somebody/kernel"}'),
        ("model/config.json", "no JSON"),
        ("components/tokenizer/tokenizer_config.json", '{"auto_map": {}}'),
        ("model/model.safetensors.index.json", '{"weight_map": {"a": "../x.safetensors"}}'),
        ("model/model.safetensors.index.json", '{"weight_map": {"a": "pytorch_model.bin"}}'),
    ],
)
def test_transformers_with_more_than_safetensors(
    path: Path, settings: Settings, name: str, content: str
) -> None:
    save_transformers(path)
    (path / name).write_text(content)
    assert "has the format code" in denial(path, settings)


def test_transformers_without_weights(path: Path, settings: Settings) -> None:
    save_transformers(path)
    (path / "model" / "model.safetensors").unlink()
    assert "has no safetensors" in denial(path, settings)
