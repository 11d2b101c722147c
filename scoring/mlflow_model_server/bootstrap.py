"""The application that answers requests, with the prepared model loaded."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from mlflow_model_server.auth.admission import make_authenticator
from mlflow_model_server.drift.baseline import column_names
from mlflow_model_server.http.app import Application
from mlflow_model_server.http.input_example import check_input_example
from mlflow_model_server.inference.limits import memory_for_traces
from mlflow_model_server.inference.predictor import Predictor
from mlflow_model_server.inference.service import InferenceService
from mlflow_model_server.metrics import slots
from mlflow_model_server.metrics.recorder import make_recorder
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.model import loading, traces, waiting_traces
from mlflow_model_server.runtime.termination import StartupError, last_line, redact_urls
from mlflow_model_server.settings import Settings

if TYPE_CHECKING:
    from mlflow_model_server.shadow.feeder import Feeder


def load(settings: Settings, shared: SharedMemory | None = None, slot: int = 0) -> Application:
    """The ASGI application of the worker with number `slot`, which counts in `shared`.

    Raises StartupError: ModelLoadFailed, naming the exception, InputExampleFailed where the model
    is to answer its own input example and does not, or AccessSecretInvalid for keys that can't be
    used.
    """
    authenticator = make_authenticator(settings)
    shared = shared or SharedMemory(shadow=settings.shadow_file is not None)
    recorder = make_recorder(settings, shared, slot)
    waiting_traces.limit(settings, memory_for_traces(settings))
    loaded = _load(settings)
    shared.slot(slot)[slots.ONNX] = slots.ONNX_ACTIVE if loaded.is_onnx else slots.ONNX_INACTIVE
    recorder.set_column_names(*column_names(loaded.signature))
    _configure_traces(settings, loaded)
    if settings.input_example != "off":
        check_input_example(loaded, settings)
    predictor = Predictor(loaded, settings, recorder)
    feeder = _start_feeder(settings, shared, slot)
    return Application(InferenceService(predictor, settings, recorder, authenticator, feeder))


def _start_feeder(settings: Settings, shared: SharedMemory, slot: int) -> Feeder | None:
    if settings.shadow_file is None or shared.shadow is None:
        return None
    # Imported here: few have a shadow.
    from mlflow_model_server.shadow.feeder import make_feeder

    feeder = make_feeder(settings, settings.shadow_file, shared.shadow, slot)
    feeder.start()
    return feeder


def _load(settings: Settings) -> loading.Loaded:
    try:
        return loading.load(settings, _conversion(settings))
    # A model's code may raise anything, and may even exit.
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        model = redact_urls(settings.model_uri) or "The model"
        cause = last_line(_unwrapped(error))
        raise StartupError("ModelLoadFailed", f"{model} does not load: {cause}") from error


def _configure_traces(settings: Settings, loaded: loading.Loaded) -> None:
    if loaded.runs_known_code:  # which has none
        return
    destination = traces.configure(settings)
    if destination:
        waiting_traces.limit_bytes(memory_for_traces(settings))
        waiting_traces.watch_spans()
    if destination or loaded.agent is not None or loaded.can_stream:
        traces.announce(destination)


def _conversion(settings: Settings) -> loading.ByConversion | None:
    if not settings.onnx:
        return None
    # Imported here: few ask for it.
    from mlflow_model_server.onnx.load import load_onnx_predictor

    return load_onnx_predictor


def _unwrapped(error: BaseException) -> BaseException:
    """What the model's own code raised, where MLflow wrapped it in an exception of its own."""
    while type(error).__name__ == "MlflowException" and error.__cause__ is not None:
        error = error.__cause__
    return error
