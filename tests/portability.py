"""MLmodel files, and whether any Python loads the model: for the operator and the scoring server.

Neither imports the other, so each has the rule, and a test of each reads this table.
"""

from __future__ import annotations

PYTHON = "3.13.1"


def _mlmodel(loader: str, pyfunc: str = "", flavors: str = "") -> str:
    return (
        f"flavors:\n  python_function:\n    loader_module: {loader}\n{pyfunc}"
        f"    python_version: {PYTHON}\n{flavors}model_uuid: a\n"
    )


MLMODELS = [
    (_mlmodel("mlflow.catboost", "    data: model.cb\n"), True),
    (_mlmodel("mlflow.xgboost", "    data: model.ubj\n"), True),
    (_mlmodel("mlflow.xgboost", "    data: model.pickle\n"), False),
    (_mlmodel("mlflow.lightgbm", "    data: model.lgb\n"), True),
    (_mlmodel("mlflow.lightgbm", "    data: model.pkl\n"), False),
    (_mlmodel("mlflow.onnx", "    data: model.onnx\n"), True),
    (_mlmodel("mlflow.tensorflow", "    data: data\n"), False),
    (_mlmodel("mlflow.sklearn", "    model_path: model.pkl\n"), False),
    (_mlmodel("mlflow.sklearn", flavors="  sklearn:\n    serialization_format: pickle\n"), False),
    (_mlmodel("mlflow.sklearn", flavors="  sklearn:\n    serialization_format: skops\n"), True),
    (_mlmodel("mlflow.pyfunc.model", "    python_model: python_model.pkl\n"), False),
    (_mlmodel("mlflow.pyfunc.model", "    model_code_path: model.py\n"), True),
    (_mlmodel("mlflow.pyfunc.loaders.code_model", "    model_code_path: model.py\n"), True),
    (_mlmodel("mlflow.pyfunc.loaders.chat_agent", "    model_code_path: agent.py\n"), True),
    (_mlmodel("mlflow.pyfunc.loaders.chat_model", "    python_model: python_model.pkl\n"), False),
]
