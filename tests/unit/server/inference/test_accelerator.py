"""A GPU whose memory is full, and one that no longer works: a stand-in for PyTorch raises both."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import types
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel

from mlflow_model_server.inference.accelerator import Accelerator, error_response
from mlflow_model_server.inference.batcher import Batcher
from mlflow_model_server.inference.mlflow_fallback import Fallback
from mlflow_model_server.inference.threads import Outcome, PredictionThreads
from mlflow_model_server.responses import JSON
from mlflow_model_server.settings import Settings
from tests.unit.server import models
from tests.unit.server.process import Server, serving, wait_until

SECRET = "only-for-the-log"
TORCH_MEMORY_ERROR = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})
TENSORFLOW_MEMORY_ERROR = type(
    "ResourceExhaustedError",
    (Exception,),
    {"__module__": "tensorflow.python.framework.errors_impl"},
)
ADVICE = (
    "\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\nCompile with `TORCH_USE_CUDA_DSA`"
)
ASSERT_FAILED = f"CUDA error: device-side assert triggered{ADVICE}"


class Tensor:
    """What takes memory on a GPU for as long as something refers to it."""


class HungryModel:
    """Fails for several requests at once, and for a negative number."""

    def __init__(self) -> None:
        self.tensors: list[weakref.ref[Tensor]] = []
        self.alive_before: list[int] = []  # tensors of earlier predictions, by prediction

    @property
    def alive(self) -> int:
        return sum(tensor() is not None for tensor in self.tensors)

    def predict(self, parts: Sequence[Any]) -> tuple[Any, Any, Any]:
        self.alive_before.append(self.alive)
        activations = Tensor()
        self.tensors.append(weakref.ref(activations))
        if len(parts) > 1 or parts[0] == [-1]:
            raise TORCH_MEMORY_ERROR("CUDA out of memory")
        return [row for part in parts for row in part], None, None


@pytest.fixture(autouse=True)
def _without_garbage_collection() -> Iterator[None]:
    """It would hide what is held by accident."""
    gc.disable()
    yield
    gc.enable()


async def test_a_batch_that_failed_holds_nothing_while_its_requests_are_predicted_alone() -> None:
    model = HungryModel()
    batcher = Batcher(model.predict, together=True)
    predictions = await asyncio.gather(*(batcher.submit([i], 1) for i in range(3)))
    assert [prediction.predictions for prediction in predictions] == [[0], [1], [2]]
    assert model.alive_before == [0, 0, 0, 0]


async def test_a_failed_prediction_holds_nothing_even_while_its_error_is_in_use() -> None:
    model = HungryModel()
    batcher = Batcher(model.predict, together=True)
    with pytest.raises(TORCH_MEMORY_ERROR) as failed:
        await batcher.submit([-1], 1)
    assert model.alive == 0
    assert failed.traceback[-1].name == "predict", "the log can still say where"


def test_neither_does_one_in_mlflows_threads() -> None:
    model = HungryModel()
    threads = PredictionThreads(1, Settings())
    outcome: Outcome[Any] = threads._timed(lambda: model.predict([[-1]]))
    assert isinstance(outcome.error, TORCH_MEMORY_ERROR)
    assert model.alive == 0


class Failing:
    """A model's implementation, as MLflow calls it."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def predict(self, data: Any, params: Any = None) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        TORCH_MEMORY_ERROR(f"CUDA out of memory. {SECRET}"),
        TENSORFLOW_MEMORY_ERROR(f"OOM when allocating a tensor {SECRET}"),
        RuntimeError(f"CUDA error: out of memory {SECRET}{ADVICE}"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(f"HIP error: out of memory{ADVICE}"),
    ],
    ids=["torch", "tensorflow", "driver", "cublas", "amd"],
)
def test_full_memory_is_neither_the_clients_fault_nor_for_it_to_read(error: Exception) -> None:
    fallback = Fallback(PyFuncModel(model_meta=Model(), model_impl=Failing(error)))
    response = fallback.respond(json.dumps({"inputs": [1]}).encode(), JSON).response
    body = json.loads(response.body)
    assert (response.status, body["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert "send fewer rows" in body["message"] and SECRET not in body["message"]


def test_a_device_that_failed_is_the_servers_fault() -> None:
    fallback = Fallback(
        PyFuncModel(model_meta=Model(), model_impl=Failing(RuntimeError(ASSERT_FAILED)))
    )
    response = fallback.respond(json.dumps({"inputs": [1]}).encode(), JSON).response
    assert response.status == 500, "503 would make clients send it to the next server"
    assert "the GPU failed" in json.loads(response.body)["message"]


@pytest.mark.parametrize(
    "error", [ValueError("CUDA error: mine"), MemoryError(), RuntimeError("x")]
)
def test_other_errors_are_no_gpus(error: Exception) -> None:
    assert error_response(error) is None


def test_an_error_that_is_its_own_cause_is_read_once() -> None:
    error, other = RuntimeError(ASSERT_FAILED), RuntimeError("x")
    error.__context__, other.__context__ = other, error
    assert error_response(other) is not None


def pretend_torch(monkeypatch: pytest.MonkeyPatch, problem: str, initialized: bool = True) -> None:
    def synchronize() -> None:
        if problem:
            raise RuntimeError(problem)

    cuda = types.SimpleNamespace(is_initialized=lambda: initialized, synchronize=synchronize)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))


@pytest.mark.parametrize(
    ("raised", "problem", "initialized", "is_lost"),
    [
        (RuntimeError(ASSERT_FAILED), ASSERT_FAILED, True, True),
        (RuntimeError(ASSERT_FAILED), "", True, False),
        (RuntimeError(ASSERT_FAILED), ASSERT_FAILED, False, False),
        (RuntimeError(ASSERT_FAILED), f"CUDA error: out of memory{ADVICE}", True, False),
        (TORCH_MEMORY_ERROR("CUDA out of memory"), ASSERT_FAILED, True, False),
        (ValueError("a bad row"), ASSERT_FAILED, True, False),
    ],
    ids=["lost", "works again", "not in use", "full", "memory error", "not the GPU's"],
)
def test_a_gpu_is_lost_if_waiting_for_it_fails_after_an_error_of_it(
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    problem: str,
    initialized: bool,
    is_lost: bool,
) -> None:
    pretend_torch(monkeypatch, problem, initialized)
    accelerator = Accelerator()
    accelerator.on_failure(raised)
    assert accelerator.is_lost is is_lost


def test_without_pytorch_no_gpu_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    accelerator = Accelerator()
    accelerator.on_failure(RuntimeError(ASSERT_FAILED))
    assert not accelerator.is_lost


# After "assert" each call fails, as CUDA's do; "memory" fails alone.
ON_GPU = f"""\
import sys, types
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

OutOfMemoryError = type("OutOfMemoryError", (RuntimeError,), {{"__module__": "torch"}})


def synchronize():
    raise RuntimeError({ASSERT_FAILED!r})


class OnGpu(PythonModel):
    def predict(self, context, model_input, params=None):
        kind = model_input["kind"].iloc[0]
        if kind == "memory":
            raise OutOfMemoryError("CUDA out of memory. {SECRET}")
        if kind == "assert":
            cuda = types.SimpleNamespace(is_initialized=lambda: True, synchronize=synchronize)
            sys.modules["torch"] = types.SimpleNamespace(cuda=cuda)
        if "torch" in sys.modules:
            synchronize()
        return [kind]


set_model(OnGpu())
"""


@pytest.fixture
def on_gpu(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    models.save_from_code(tmp_path / "model" / "artifact", ON_GPU)
    return tmp_path / "model"


def invoke(server: Server, kind: str) -> Any:
    return server.predict({"dataframe_split": {"columns": ["kind"], "data": [[kind]]}})


def test_a_server_goes_on_after_full_memory_and_ends_when_its_gpu_is_lost(
    on_gpu: Path, unused_tcp_port: int
) -> None:
    with serving(on_gpu, unused_tcp_port) as server:
        for _ in range(3):
            assert invoke(server, "memory").status_code == 503
            assert invoke(server, "good").json() == {"predictions": ["good"]}
        assert invoke(server, "assert").status_code == 500
        assert server.ended() == 0, "so that Kubernetes starts it again"
        assert "the GPU can't be used by this process any more" in server.output.read_text()


def test_a_worker_whose_gpu_is_lost_is_replaced(on_gpu: Path, unused_tcp_port: int) -> None:
    with serving(on_gpu, unused_tcp_port, WORKERS="2") as server:
        assert invoke(server, "assert").status_code == 500
        wait_until(
            lambda: "code 0: starting another" in server.output.read_text(), "one is replaced", 60
        )
        wait_until(lambda: invoke(server, "good").ok, "predictions are made again", 60)
