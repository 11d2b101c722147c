"""MLflow: what a model URI means now. The only place that talks to tracking servers."""

from mlflow_model_operator.registry.registry import Registry, RegistryObserver

__all__ = ["Registry", "RegistryObserver"]
