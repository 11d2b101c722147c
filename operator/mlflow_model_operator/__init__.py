"""mlflow-model-operator: a Kubernetes operator that serves MLflow models."""

# The version of the project. The package's metadata, the images' tags and the metrics read it from
# here; tests/unit/test_version.py compares it with the chart, the scoring server and the examples.
__version__ = "0.1.0"
