"""Models of Hugging Face's transformers: safetensors, and files of text that describe them.

The library reads whatever is there, weights in pickles too, and follows names to other places and
to code. So every file counts, and the fields of the MLmodel file that lead elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow_model_server.prepare.model_folder import FormatUse, ModelFolder, anything

_WEIGHTS = ".safetensors"
_TEXTS = {".json", ".jsonl", ".txt", ".jinja", ".md", ".yaml", ".yml"}
# Of SentencePiece, which has protobuf's messages in it.
_VOCABULARIES = {".model", ".spm"}
_MLFLOW = {"MLmodel", "LICENSE", "NOTICE", "model.sig", ".gitattributes"}
_FIELDS = {
    *("task", "instance_type", "framework", "torch_dtype", "pipeline_model_type", "components"),
    *("model_binary", "source_model_name", "code", "inference_task", "transformers_version"),
    *(
        f"{part}_type"
        for part in ("tokenizer", "feature_extractor", "image_processor", "processor")
    ),
    *(
        f"{part}_name"
        for part in ("tokenizer", "feature_extractor", "image_processor", "processor")
    ),
}
# Names of attributes of the package transformers: of its classes, and no others.
_CLASSES = {"instance_type", "pipeline_model_type", *(f for f in _FIELDS if f.endswith("_type"))}
_CLASS = re.compile(r"[A-Z]\w*")
_COMPONENTS = {"tokenizer", "feature_extractor", "image_processor"}
# With which a file of JSON leads to code, in the model or anywhere.
_CODE = {"auto_map", "custom_pipelines", "trust_remote_code", "custom_generate"}
_MAX_JSON = 1 << 26


def of_transformers(model: ModelFolder) -> Iterator[FormatUse]:
    """What mlflow.transformers loads."""
    model.folder(model.flavor.get("model_binary"), "flavors.transformers.model_binary")
    for field in _odd_fields(model.flavor):
        yield from anything(f"flavors.transformers.{field}")
    uses = [use for path in model.root.rglob("*") for use in _of_file(model, path)]
    yield from uses
    if not any(use.format == "safetensors" for use in uses):
        yield from anything("the model's folder, which has no safetensors,")


def _odd_fields(flavor: dict[str, Any]) -> Iterator[str]:
    """Those that lead elsewhere, or whose effect is not established."""
    for field, value in flavor.items():
        if field not in _FIELDS:
            yield "*, a field that is not of the known ones,"
        elif field in _CLASSES and not (isinstance(value, str) and _CLASS.fullmatch(value)):
            yield field
    components = flavor.get("components", [])
    if not isinstance(components, list) or not all(
        map(_COMPONENTS.__contains__, map(str, components))
    ):
        yield "components"


def _of_file(model: ModelFolder, path: Path) -> Iterator[FormatUse]:
    shown = model.shown(path)
    ending = path.suffix.lower()
    if path.is_dir() or path.name in _MLFLOW or ending in _VOCABULARIES:
        return
    if ending == _WEIGHTS:
        yield FormatUse("safetensors", shown)
    elif ending not in _TEXTS or path.name == "adapter_config.json":
        # Adapters name the model that they are for, which would be fetched.
        yield from anything(shown)
    elif path.name.endswith(("config.json", ".index.json")) and not _is_harmless(path):
        yield from anything(f"{shown}, which leads to code or to other files,")


def _is_harmless(path: Path) -> bool:
    try:
        if path.stat().st_size > _MAX_JSON:
            return False
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError):
        return False
    level = [content]
    while level:
        part = level.pop()
        if isinstance(part, list):
            level.extend(part)
        elif isinstance(part, dict):
            if _leads_elsewhere(part):
                return False
            if not _has_own_weights(path.parent, part.get("weight_map")):
                return False
            level.extend(part.values())
    return True


def _leads_elsewhere(part: dict[str, Any]) -> bool:
    """To code of the model's or, as kernels of the hub, of others."""
    kernels = (value for name, value in part.items() if name.endswith("_implementation"))
    return bool(part.keys() & _CODE) or any("/" in str(value) for value in kernels)


def _has_own_weights(folder: Path, weights: Any) -> bool:
    """Whether weights that are in several files are in those beside the one that says so."""
    names = set(map(str, weights.values())) if isinstance(weights, dict) else set()
    return all(
        "/" not in name and name.endswith(_WEIGHTS) and (folder / name).is_file() for name in names
    )
