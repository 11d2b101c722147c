"""Models of users' own, as they write them.

They are pickled by value, so that they load where this module is not.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pydantic
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.pyfunc import ChatAgent, ChatModel, PythonModel, ResponsesAgent
from mlflow.types.agent import ChatAgentMessage, ChatAgentResponse
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage
from mlflow.types.responses import ResponsesAgentResponse

cloudpickle.register_pickle_by_value(sys.modules[__name__])

FROM_CODE = """\
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Doubles(PythonModel):
    def load_context(self, context):
        from parity_helper import double

        self.double = double

    def predict(self, context, model_input, params=None):
        return self.double(model_input["x"])


set_model(Doubles())
"""


class PrePost(PythonModel):
    def predict(self, context, model_input, params=None):
        words = [text.lower().split() for text in model_input["text"]]
        return pd.DataFrame({"first": [w[0] for w in words], "count": [len(w) for w in words]})


def _moment() -> datetime.datetime:
    return datetime.datetime(2026, 1, 31, 12, 30, 15, 250)


class Named(pydantic.BaseModel):
    name: str
    size: int = 1


RETURNS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "string": lambda: "naïve ☃ \u0000 \ud83d\ude00",
    "bytes": lambda: b"\x00\xff" * 50,
    "bool": lambda: True,
    "int": lambda: 2**70,
    "float": lambda: 0.1,
    "numpy scalar": lambda: np.float32(0.1),
    "numpy int": lambda: np.int64(2**53 + 1),
    "list": lambda: [1, 2.5, "x", None, True],
    "tuple": lambda: (np.arange(2), {"a": np.float64(1)}),
    "dict": lambda: {"a": [1], "b": {"c": np.arange(3)}, "predictions": 1},
    "dict with int keys": lambda: {1: "a", None: "b", False: "c", 1.5: "d"},
    "dict with numpy keys": lambda: {np.int64(1): "a"},
    "dict with tuple keys": lambda: {(1, 2): "a"},
    "set": lambda: {1},
    "frame": lambda: pd.DataFrame({"a": [1, 2], "b": [0.5, None], "c": ["x", None]}),
    "frame with index": lambda: pd.DataFrame({"a": [1, 2]}, index=["x", "y"]),
    "frame with int columns": lambda: pd.DataFrame([[1, 2.0]]),
    "frame with moments": lambda: pd.DataFrame({"at": [pd.Timestamp(_moment()), pd.NaT]}),
    "frame with zones": lambda: pd.DataFrame({"at": [pd.Timestamp(_moment(), tz="UTC")]}),
    "frame with categories": lambda: pd.DataFrame({"c": pd.Categorical(["a", "b"])}),
    "frame of nullables": lambda: pd.DataFrame({"n": pd.array([1, None], dtype="Int64")}),
    "frame of arrays": lambda: pd.DataFrame({"v": [np.arange(2), np.arange(3)]}),
    "frame of bytes": lambda: pd.DataFrame({"b": [b"a", b"\xff"]}),
    "empty frame": lambda: pd.DataFrame({"a": []}),
    "series": lambda: pd.Series([1, 2]),
    "series with a name": lambda: pd.Series([1.5, 2], name="p"),
    "series of strings": lambda: pd.Series(["a", "☃"], name=""),
    "array": lambda: np.arange(6).reshape(2, 3),
    "array of float32": lambda: np.array([0.1, 1e-40, 3e38], dtype="float32"),
    "array of float16": lambda: np.array([0.1], dtype="float16"),
    "array of booleans": lambda: np.array([True, False]),
    "array of unsigned": lambda: np.array([2**64 - 1], dtype="uint64"),
    "array of strings": lambda: np.array(["a", "☃"]),
    "array of bytes": lambda: np.array([b"ab", b"c"]),
    "array of objects": lambda: np.array([1, "a", None, np.float32(0.5), b"x"], dtype=object),
    "array of moments": lambda: np.array(["2026-01-31T12:00:00"], dtype="datetime64[s]"),
    "array of ns moments": lambda: np.array(["2026-01-31T12:00:00"], dtype="datetime64[ns]"),
    "array of durations": lambda: np.array([5], dtype="timedelta64[s]"),
    "array of complex": lambda: np.array([1j]),
    "array without items": lambda: np.zeros((0, 3)),
    "array without axes": lambda: np.array(1.5),
    "nan": lambda: [float("nan"), float("inf"), -float("inf")],
    "array of nan": lambda: np.array([[np.nan, np.inf, -np.inf, -0.0]]),
    "small and large": lambda: [5e-324, 1.7976931348623157e308, 1e16, 1e22, 123456789.123456789],
    "datetime": _moment,
    "date": lambda: _moment().date(),
    "time": lambda: _moment().time(),
    "timestamps": lambda: [pd.Timestamp(_moment()), np.datetime64("2026-01-31"), pd.NaT],
    "duration": lambda: datetime.timedelta(seconds=1),
    "pydantic": lambda: [Named(name="a"), Named(name="☃")],
    "object": object,
    "generator": lambda: (i for i in range(3)),
    "deep": lambda: [[[[[[{"a": [[1]]}]]]]]],
}


class Returns(PythonModel):
    def predict(self, context, model_input, params=None):
        return RETURNS[model_input["what"].iloc[0]]()


def _raise(error: BaseException) -> Any:
    raise error


SECRET = "only-for-the-log"

# As PyTorch raises it.
GPU_MEMORY_ERROR = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})

FAILURES: dict[str, Callable[[], Any]] = {
    "value": lambda: _raise(ValueError(SECRET)),
    "key": lambda: _raise(KeyError(SECRET)),
    "type": lambda: _raise(TypeError(SECRET)),
    "memory": lambda: _raise(MemoryError(SECRET)),
    "recursion": lambda: _raise(RecursionError(SECRET)),
    "mlflow": lambda: _raise(MlflowException(SECRET)),
    "mlflow, invalid": lambda: _raise(MlflowException.invalid_parameter_value(SECRET)),
    "mlflow, not found": lambda: _raise(MlflowException(SECRET, RESOURCE_DOES_NOT_EXIST)),
    "mlflow, schema": lambda: _raise(MlflowException("Failed to enforce schema")),
    "stop": lambda: _raise(StopIteration()),
    "none": lambda: [1],
    "gpu memory": lambda: _raise(GPU_MEMORY_ERROR(SECRET)),
}


class Fails(PythonModel):
    def predict(self, context, model_input, params=None):
        return FAILURES[model_input["how"].iloc[0]]()


def told(value: Any) -> Any:
    """What a value is, as JSON: types too, so that a server that makes others is caught."""
    if isinstance(value, pd.DataFrame):
        columns = {str(name): told(value[name]) for name in value.columns}
        return {"type": "frame", "index": told(list(value.index)), "columns": columns}
    if isinstance(value, pd.Series):
        return [str(value.dtype), [told(item) for item in value.tolist()]]
    if isinstance(value, np.ndarray):
        return [f"{value.dtype}{value.shape}", [told(item) for item in value.ravel().tolist()]]
    if isinstance(value, dict):
        return {str(key): told(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [type(value).__name__, [told(item) for item in value]]
    return [type(value).__name__, str(value)]


class Tells(PythonModel):
    def predict(self, context, model_input, params=None):
        return told(model_input)


class TellsParams(PythonModel):
    def predict(self, context, model_input, params=None):
        return {"input": told(model_input), "params": told(params)}


class Waits(PythonModel):
    """Answers when the file that PARITY_GO names is there."""

    def predict(self, context, model_input, params=None):
        deadline = time.monotonic() + 60
        while not Path(os.environ["PARITY_GO"]).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return list(model_input["x"])


class Streams(PythonModel):
    def predict(self, context, model_input, params=None):
        return list(model_input["x"])

    def predict_stream(self, context, model_input, params=None):
        yield from (str(x) for x in model_input["x"])


class Person(pydantic.BaseModel):
    name: str
    age: int
    tags: list[str] = []


class Hinted(PythonModel):
    def predict(self, model_input: list[Person], params: Any = None) -> Any:
        return [f"{person.name} is {person.age}" for person in model_input]


class Chat(ChatModel):
    def predict(self, context, messages, params):
        said = f"{messages[-1].content} at {params.temperature} for {params.max_tokens}"
        choice = ChatChoice(message=ChatMessage(role="assistant", content=said), index=0)
        return ChatCompletionResponse(choices=[choice], model="parity", created=1700000000)


class Agent(ChatAgent):
    def predict(self, messages, context=None, custom_inputs=None):
        said = f"{messages[-1].content} for {context and context.user_id}"
        return ChatAgentResponse(
            messages=[ChatAgentMessage(role="assistant", content=said, id="1")],
            custom_outputs=custom_inputs,
        )


class Responder(ResponsesAgent):
    def predict(self, request):
        content = request.input[-1].content
        text = content if isinstance(content, str) else content[-1].text
        said = f"{text} at {request.temperature} for {request.context and request.context.user_id}"
        return ResponsesAgentResponse(
            output=[self.create_text_output_item(text=said, id="1")],
            custom_outputs=request.custom_inputs,
        )
