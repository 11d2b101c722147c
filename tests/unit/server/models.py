"""Small models, saved by MLflow itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.pyfunc
import mlflow.sklearn
import pandas as pd
import sklearn
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# Named, since MLflow needs ten seconds to find them out.
PACKAGES = [f"scikit-learn=={sklearn.__version__}"]

# Its predictions need a module of its own, and a package that the image does not have.
CUSTOM = """\
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Custom(PythonModel):
    def load_context(self, context):
        import tinyone
        from helper import double

        self.version, self.double = tinyone.VERSION, double

    def predict(self, context, model_input, params=None):
        return [f"{self.double(x)} by {self.version}" for x in model_input["x"]]


set_model(Custom())
"""

# Tells when it has begun, and ends when it may.
SLOW = """\
import os, time
from pathlib import Path
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Slow(PythonModel):
    def predict(self, context, model_input, params=None):
        folder = Path(os.environ["SLOW_FOLDER"])
        (folder / "begun").touch()
        deadline = time.monotonic() + 60
        while not (folder / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return list(model_input["x"])


set_model(Slow())
"""

# Changes the table that it gets, as some do.
GREETER = """\
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Greeter(PythonModel):
    def predict(self, context, model_input, params=None):
        model_input["greeting"] = "hello"
        return [2 * x for x in model_input["x"]]


set_model(Greeter())
"""


def save_wine(folder: Path, **more: Any) -> LogisticRegression:
    """Saves a pipeline over scikit-learn's wine data; returns it."""
    rows, labels = load_wine(return_X_y=True, as_frame=True)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    signature = mlflow.models.infer_signature(rows, fitted.predict(rows))
    mlflow.sklearn.save_model(
        fitted, folder, signature=signature, pip_requirements=PACKAGES, **more
    )
    return fitted


def save_colours(folder: Path) -> None:
    """Saves a pipeline over a number and a word."""
    rows = pd.DataFrame({"alcohol": [11.0, 12.0, 13.0, 14.0], "colour": ["red", "white"] * 2})
    words = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["colour"]), remainder="passthrough"
    )
    fitted = make_pipeline(words, LogisticRegression()).fit(rows, [0, 0, 1, 1])
    signature = mlflow.models.infer_signature(rows, fitted.predict(rows))
    mlflow.sklearn.save_model(fitted, folder, signature=signature, pip_requirements=PACKAGES)


def save_from_code(folder: Path, code: str, helper: str | None = None, **more: Any) -> None:
    """Saves a model that is a piece of code, and perhaps a module `helper` that it uses."""
    source = folder.parent / "model.py"
    source.write_text(code)
    helpers = []
    if helper is not None:
        helpers = [folder.parent / "helper.py"]
        helpers[0].write_text(helper)
    mlflow.pyfunc.save_model(
        folder,
        python_model=str(source),
        code_paths=[str(path) for path in helpers],
        pip_requirements=["tinyone==1.0"],
        **more,
    )
