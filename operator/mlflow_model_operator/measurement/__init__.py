"""Reads the metrics of models' pods, and of Prometheus, for rollouts that hold a step."""

from mlflow_model_operator.measurement.poller import MeasurementPoller
from mlflow_model_operator.measurement.reader import Reader

__all__ = ["MeasurementPoller", "Reader"]
