"""mlflow-model-operator: a Kubernetes operator that serves MLflow models."""

__version__ = "0.1.0"
