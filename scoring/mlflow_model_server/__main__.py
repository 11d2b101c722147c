"""`python -m mlflow_model_server`, the same as the `mlflow-model-server` command."""

import sys

from mlflow_model_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
