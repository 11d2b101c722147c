"""The converted model as a way to predict, for the server."""

from __future__ import annotations

import logging
from typing import Any

from mlflow_model_server.model.candidates import DirectPredictor, matches_model
from mlflow_model_server.model.input_schema import InputSchema
from mlflow_model_server.onnx import result
from mlflow_model_server.runtime.termination import last_line
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)


def load_onnx_predictor(
    settings: Settings, model: Any, schema: InputSchema | None
) -> DirectPredictor | None:
    """The predictor by ONNX Runtime, if its answers matched in `prepare`, and match here too.

    The log says which it is, and why not.
    """
    conversion = result.read(settings.converted)
    spec = conversion.spec
    if spec is None or schema is None:
        log.warning("the model is served without ONNX: %s", conversion.message)
        return None
    try:
        from mlflow_model_server.onnx.session import Session

        session = Session(settings.converted / result.MODEL, spec)
        predictor = DirectPredictor(
            session.predict,
            accepts_dataframe=False,
            rows_independent=True,
            tolerance=spec.tolerance,
            is_onnx=True,
        )
        if matches_model(model, predictor, schema):
            log.info("ONNX Runtime predicts: %s", conversion.message)
            return predictor
        why = "its predictions differ from those when it was prepared"
    except Exception as error:  # the library may be broken in any way
        why = last_line(error)
    log.warning("the model is served without ONNX: %s", why)
    return None
