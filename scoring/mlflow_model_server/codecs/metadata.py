"""A model's inputs and outputs as the protocol describes them, from its MLflow signature. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np

from mlflow_model_server.codecs.tensors import datatype_of

INPUT = "input-{}"
OUTPUT = "output-{}"


class Kind(Enum):
    """What the elements of an input or output are in Python."""

    NUMBER = "number"  # or a boolean
    TEXT = "text"
    BINARY = "binary"
    DATETIME = "datetime"
    JSON = "json"  # MLflow's arrays, objects, maps, and values of any type
    ANY = "any"  # tensors of objects: nothing is said about their elements


# MLflow's types of columns by name; all others are JSON.
_COLUMNS = {
    "boolean": ("BOOL", Kind.NUMBER),
    "integer": ("INT32", Kind.NUMBER),
    "long": ("INT64", Kind.NUMBER),
    "float": ("FP32", Kind.NUMBER),
    "double": ("FP64", Kind.NUMBER),
    "string": ("BYTES", Kind.TEXT),
    "binary": ("BYTES", Kind.BINARY),
    "datetime": ("BYTES", Kind.DATETIME),
}
# Kinds of numpy's dtypes; all others are numbers.
_TENSORS = {"U": Kind.TEXT, "S": Kind.BINARY, "M": Kind.DATETIME, "O": Kind.ANY}
# What MLServer calls the columns whose elements are BYTES.
_CONTENT_TYPES = {
    Kind.TEXT: "str",
    Kind.BINARY: "base64",
    Kind.DATETIME: "datetime",
    Kind.JSON: "pd_json",
}


@dataclass(frozen=True)
class Field:
    """A tensor or column that a model takes or gives."""

    name: str
    datatype: str
    shape: tuple[int, ...]  # -1: any
    is_column: bool  # of a table, and no tensor of its own
    type: str  # MLflow's name

    @cached_property
    def kind(self) -> Kind:
        """What the elements are, whatever a request calls them."""
        if not self.is_column:
            return _TENSORS.get(np.dtype(self.type).kind, Kind.NUMBER)
        return _COLUMNS.get(self.type, ("BYTES", Kind.JSON))[1]

    @cached_property
    def is_number_column(self) -> bool:
        """Whether it is a column of numbers or booleans."""
        return self.is_column and self.kind is Kind.NUMBER

    @property
    def content_type(self) -> str:
        """MLServer's name for how the elements are written."""
        if self.is_column:
            return _CONTENT_TYPES.get(self.kind, "pd")
        return {Kind.DATETIME: "datetime", Kind.ANY: "str"}.get(self.kind, "np")

    def to_json(self) -> dict[str, Any]:
        """As the protocol's metadata have it."""
        return {
            "name": self.name,
            "datatype": self.datatype,
            "shape": list(self.shape),
            "parameters": {"content_type": self.content_type},
        }


@dataclass(frozen=True)
class Spec:
    """A model's inputs, outputs and parameters; all empty without a signature."""

    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()
    params: frozenset[str] = frozenset()
    # The model's function has a type hint, and takes a list of values instead of a table.
    takes_list: bool = False

    @property
    def is_table(self) -> bool:
        """Whether the inputs are columns."""
        return bool(self.inputs) and self.inputs[0].is_column

    @cached_property
    def columns(self) -> dict[str, Field]:
        """The inputs that are columns, by name."""
        return {field.name: field for field in self.inputs if field.is_column}

    @property
    def content_type(self) -> str | None:
        """MLServer's name for what the inputs are together; None without a signature."""
        if not self.inputs:
            return None
        if self.is_table:
            return "pd"
        return "np" if self.is_single_tensor else "dict"

    @property
    def is_single_tensor(self) -> bool:
        """Whether the only tensor goes to the model by itself, and not by its name."""
        return all(field.name == INPUT.format(1) for field in self.inputs)

    def to_json(self) -> dict[str, Any]:
        """The model's part of the protocol's metadata."""
        described = {
            "inputs": [field.to_json() for field in self.inputs],
            "outputs": [field.to_json() for field in self.outputs],
        }
        if self.content_type is None:
            return described
        return {**described, "parameters": {"content_type": self.content_type}}


def spec_of(signature: Any) -> Spec:
    """From a `mlflow.models.ModelSignature`, or None."""
    if signature is None:
        return Spec()
    params = signature.params.params if signature.params is not None else ()
    return Spec(
        _fields(signature.inputs, INPUT),
        _fields(signature.outputs, OUTPUT),
        frozenset(param.name for param in params),
        bool(getattr(signature, "_is_signature_from_type_hint", False)),
    )


def _fields(schema: Any, unnamed: str) -> tuple[Field, ...]:
    # Predictions may have types that are no schema of columns or tensors.
    specs = getattr(schema, "inputs", None) or ()
    return tuple(
        _field(spec, unnamed.format(i), schema.is_tensor_spec()) for i, spec in enumerate(specs, 1)
    )


def _field(spec: Any, unnamed: str, is_tensor: bool) -> Field:
    name = unnamed if spec.name is None else str(spec.name)
    if is_tensor:
        dtype = np.dtype(spec.type)
        return Field(name, _datatype_of(dtype), tuple(map(int, spec.shape)), False, str(dtype))
    type_name = str(getattr(spec.type, "name", spec.type))
    return Field(name, _COLUMNS.get(type_name, ("BYTES",))[0], (-1, 1), True, type_name)


def _datatype_of(dtype: np.dtype[Any]) -> str:
    """The datatype by which a tensor is sent; the protocol has neither complex nor wider floats."""
    if dtype.kind == "c":
        return "FP32" if dtype.itemsize == 8 else "FP64"
    if dtype.kind == "f" and dtype.itemsize > 8:
        return "FP64"
    return "INT64" if dtype.kind == "m" else datatype_of(dtype)
