"""The converted model as a way to predict, for the server."""

from __future__ import annotations

import logging
from typing import Any

from mlflow_model_server.model.candidates import Direct, answers_alike
from mlflow_model_server.model.input_schema import Plan
from mlflow_model_server.onnx import result
from mlflow_model_server.runtime.termination import last_line
from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)


def by_onnx(settings: Settings, model: Any, plan: Plan | None) -> Direct | None:
    """The way by ONNX Runtime, if `prepare` found that it answers alike, and it does so here.

    The log says which it is, and why not.
    """
    told = result.read(settings.converted)
    how = told.converted
    if how is None or plan is None:
        log.warning("the model is served without ONNX: %s", told.message)
        return None
    try:
        from mlflow_model_server.onnx.session import Session

        session = Session(settings.converted / result.MODEL, how)
        way = Direct(
            session.predict,
            takes_frame=False,
            independent=True,
            tolerance=how.tolerance,
            is_onnx=True,
        )
        if answers_alike(model, way, plan):
            log.info("ONNX Runtime predicts: %s", told.message)
            return way
        why = "it answers otherwise than when it was prepared"
    except Exception as error:  # the library may be broken in any way
        why = last_line(error)
    log.warning("the model is served without ONNX: %s", why)
    return None
