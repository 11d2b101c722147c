"""What the protocol tells of a model, from its MLflow signature. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlflow_model_server.codecs.tensors import datatype_of

# MLflow's types of columns, by name; those not here (arrays, objects, maps) have no datatype.
_COLUMNS = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
    "datetime": "BYTES",
}
INPUT = "input-{}"
OUTPUT = "output-{}"


@dataclass(frozen=True)
class Field:
    """A tensor or column that a model takes or gives."""

    name: str
    datatype: str
    shape: tuple[int, ...]  # -1: any
    is_column: bool  # of a table, and no tensor of its own
    type: str  # MLflow's name

    def told(self) -> dict[str, Any]:
        """As the protocol's metadata have it."""
        kind = "pd" if self.is_column else "np"
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": list(self.shape),
            "parameters": {"content_type": kind},
        }


@dataclass(frozen=True)
class Spec:
    """A model's inputs, outputs and parameters; all empty without a signature."""

    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()
    params: frozenset[str] = frozenset()

    @property
    def is_table(self) -> bool:
        """Whether the inputs are columns."""
        return bool(self.inputs) and self.inputs[0].is_column


def spec_of(signature: Any) -> Spec:
    """From a `mlflow.models.ModelSignature`, or None."""
    if signature is None:
        return Spec()
    params = signature.params.params if signature.params is not None else ()
    return Spec(
        _fields(signature.inputs, INPUT),
        _fields(signature.outputs, OUTPUT),
        frozenset(param.name for param in params),
    )


def _fields(schema: Any, unnamed: str) -> tuple[Field, ...]:
    # Predictions may have types that are no schema of columns or tensors.
    listed = getattr(schema, "inputs", None) or ()
    return tuple(
        _field(one, unnamed.format(i), schema.is_tensor_spec()) for i, one in enumerate(listed, 1)
    )


def _field(one: Any, unnamed: str, is_tensor: bool) -> Field:
    name = unnamed if one.name is None else str(one.name)
    if is_tensor:
        shape = tuple(map(int, one.shape))
        return Field(name, datatype_of(np.dtype(one.type)), shape, False, str(one.type))
    kind = str(getattr(one.type, "name", one.type))
    return Field(name, _COLUMNS.get(kind, "BYTES"), (-1, 1), True, kind)
