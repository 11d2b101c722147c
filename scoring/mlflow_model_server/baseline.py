"""The baseline that drift is measured against, under the name that training code uses."""

from mlflow_model_server.drift.baseline import FILE, load, save

__all__ = ["FILE", "load", "save"]
