"""The command `mlflow-model-operator`, also where only the kubectl plugin is installed."""

from __future__ import annotations

PACKAGE = __name__.partition(".")[0]


def start() -> None:
    """Runs the operator. Exits with a sentence where the packages that it needs are missing."""
    try:
        from mlflow_model_operator.main import main
    except ModuleNotFoundError as error:
        missing = (error.name or PACKAGE).partition(".")[0]
        if missing == PACKAGE:
            raise
        raise SystemExit(
            f"mlflow-model-operator needs the package {missing}, which is not installed: in a "
            "clone of its repository, run pip install '.[operator]'"
        ) from None
    main()
