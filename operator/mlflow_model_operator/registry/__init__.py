"""MLflow: what a model URI means now. The only place that talks to tracking servers."""

from mlflow_model_operator.registry.http import OwnServerClient
from mlflow_model_operator.registry.poller import RegistryObserver
from mlflow_model_operator.registry.registry import Registry
from mlflow_model_operator.registry.writer import RegistryWriter

__all__ = ["OwnServerClient", "Registry", "RegistryObserver", "RegistryWriter"]
