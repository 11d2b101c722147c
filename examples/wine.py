"""Registers two versions of a model, so that there is something to serve.

MLFLOW_TRACKING_URI=http://127.0.0.1:5000 python examples/wine.py

The alias champion names version 1, challenger names version 2.
"""

import mlflow
from mlflow import MlflowClient
from mlflow.models import infer_signature
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

data = load_wine(as_frame=True)
models = {
    "champion": NearestCentroid(),
    "challenger": make_pipeline(StandardScaler(), LogisticRegression()),
}

mlflow.set_experiment("wine")
for alias, model in models.items():
    model.fit(data.data, data.target)
    info = mlflow.sklearn.log_model(
        model,
        name="model",
        registered_model_name="wine",
        signature=infer_signature(data.data, model.predict(data.data)),
        input_example=data.data.head(),
    )
    MlflowClient().set_registered_model_alias("wine", alias, info.registered_model_version)
    print(f"wine version {info.registered_model_version} is the {alias}")
