"""Failures of the GPU that a model predicts on: its memory is full, or it no longer works.

Which framework uses it is seen by what the model raises; none is imported here.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from mlflow_model_server.responses import ErrorResponse

log = logging.getLogger(__name__)

# Called with what a model raised, in the thread that predicted.
OnFailure = Callable[[BaseException], None]

_OUT_OF_MEMORY = ErrorResponse(
    503,
    "TEMPORARILY_UNAVAILABLE",
    "the GPU has too little free memory for this request: send fewer rows, or send it again later",
)
_FAILED = ErrorResponse(
    500, "INTERNAL_ERROR", "the GPU failed during the prediction: see the server's log"
)
# The exceptions of PyTorch and CuPy, and of TensorFlow.
_MEMORY_ERRORS = {"OutOfMemoryError", "ResourceExhaustedError"}
_FRAMEWORKS = {"torch", "cupy", "tensorflow"}
# How PyTorch's messages begin that repeat an error of CUDA (or, on AMD's GPUs, of HIP).
_DEVICE_ERRORS = ("CUDA error: ", "HIP error: ")
# Of these, what says that memory is full, by the driver and by cuBLAS.
_FULL = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_MAX_CAUSES = 20


class Accelerator:
    """The GPU of this process. To be used from any thread."""

    def __init__(self) -> None:
        # An error inside a kernel, as by an index beyond the end of an embedding, makes all later
        # calls of CUDA fail with the same error, until the process ends.
        self.is_lost = False

    def on_failure(self, error: BaseException) -> None:
        """Frees what a failed prediction holds, and sees whether the GPU still works."""
        free_frames(error)
        if not self.is_lost and _is_device_error(error) and _is_unusable():
            self.is_lost = True
            log.error("the GPU can't be used by this process any more: another must take its place")


def free_frames(error: BaseException) -> None:
    """Empties the frames that an exception leads to: they hold the model's tensors.

    Its trace remains, for the log.
    """
    for cause in _causes(error):
        traceback.clear_frames(cause.__traceback__)


def error_response(error: BaseException) -> ErrorResponse | None:
    """The error for what a model raised, or MLflow made of it; None where no GPU is at fault."""
    if any(map(_is_out_of_memory, _causes(error))):
        return _OUT_OF_MEMORY
    return _FAILED if _is_device_error(error) else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it came from."""
    pending: list[BaseException | None] = [error]
    reached: list[BaseException] = []
    while pending and len(reached) < _MAX_CAUSES:
        cause = pending.pop()
        if cause is None or any(cause is other for other in reached):
            continue
        reached.append(cause)
        pending += [cause.__context__, cause.__cause__]
        yield cause


def _is_out_of_memory(error: BaseException) -> bool:
    kind = type(error)
    if kind.__name__ in _MEMORY_ERRORS and kind.__module__.partition(".")[0] in _FRAMEWORKS:
        return True
    text = _device_message(error)
    return any(words in text for words in _FULL)


def _is_device_error(error: BaseException) -> bool:
    return any(map(_device_message, _causes(error)))


def _device_message(error: BaseException) -> str:
    """What PyTorch says of an error of CUDA; "" for all other exceptions."""
    # AcceleratorError is a RuntimeError, as older versions raise it.
    if not isinstance(error, RuntimeError):
        return ""
    text = str(error)
    return text if text.startswith(_DEVICE_ERRORS) else ""


def _is_unusable() -> bool:
    """Whether waiting for the GPU fails, as it does until the end of the process then."""
    torch: Any = sys.modules.get("torch")
    try:
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
    except RuntimeError as error:
        return not _is_out_of_memory(error)
    return False
