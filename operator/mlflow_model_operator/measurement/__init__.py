"""Reads the metrics of models' pods, and of Prometheus: for rollouts that hold a step, and of pods
that send copies of requests to a shadow."""

from mlflow_model_operator.measurement.poller import MeasurementPoller
from mlflow_model_operator.measurement.reader import Reader
from mlflow_model_operator.measurement.shadow import ShadowPoller

__all__ = ["MeasurementPoller", "Reader", "ShadowPoller"]
