"""Model URIs: what each says, and what is said of those that say nothing."""

from mlflow_model_operator.api.uri import (
    LoggedModel,
    ModelUri,
    RegisteredAlias,
    RegisteredLatest,
    RegisteredStage,
    RegisteredVersion,
    RunModel,
    StorageModel,
)

READ: dict[str, ModelUri] = {
    "models:/wine@champion": RegisteredAlias("wine", "champion"),
    "models:/a@b@champion": RegisteredAlias("a@b", "champion"),
    "models:/m-1@champion": RegisteredAlias("m-1", "champion"),
    "models:/wine/3": RegisteredVersion("wine", "3"),
    "models:/wine/007": RegisteredVersion("wine", "7"),
    "models:/red wine/3": RegisteredVersion("red wine", "3"),
    "models:/wine/Production": RegisteredStage("wine", "Production"),
    "models:/wine/sTAGING": RegisteredStage("wine", "Staging"),
    "models:/wine/none": RegisteredStage("wine", "None"),
    "models:/wine/latest": RegisteredLatest("wine"),
    "models:/wine/LATEST": RegisteredLatest("wine"),
    "models:/m-0a1b2c": LoggedModel("m-0a1b2c"),
    "runs:/0a1b2c/model": RunModel("0a1b2c", "model"),
    "runs:/0a1b2c/deep/path": RunModel("0a1b2c", "deep/path"),
    "s3://bucket/models/wine": StorageModel("s3://bucket/models/wine", "s3"),
    "gs://bucket/models/wine": StorageModel("gs://bucket/models/wine", "gs"),
    "mlflow-artifacts:/1/abc": StorageModel("mlflow-artifacts:/1/abc", "mlflow-artifacts"),
    "mlflow-artifacts://host:5000/1": StorageModel(
        "mlflow-artifacts://host:5000/1", "mlflow-artifacts"
    ),
    "dbfs:/models/wine": StorageModel("dbfs:/models/wine", "dbfs"),
    "abfss://fs@account.dfs.core.windows.net/wine": StorageModel(
        "abfss://fs@account.dfs.core.windows.net/wine", "abfss"
    ),
    "https://example.com/wine": StorageModel("https://example.com/wine", "https"),
    "/mnt/models/wine": StorageModel("/mnt/models/wine", "file"),
    "file:///mnt/models/wine": StorageModel("file:///mnt/models/wine", "file"),
}

REFUSED = {
    "": "starts with models:/",
    "wine": "starts with models:/",
    "models/wine/3": "starts with models:/",
    "Models:/wine/3": "starts with models:/",
    "git://example.com/wine": "starts with models:/",
    "models:/wine": "models:/<name>/<version>",
    "models:/wine/": "models:/<name>/<version>",
    "models:/wine@": "models:/<name>@<alias>",
    "models:/@champion": "models:/<name>@<alias>",
    "models:/wine/prod": "Staging, Production, Archived or None",
    "models:/wine/3/4": "models:/<name>/<version>",
    "models:/wine/٣": "models:/<name>/<version>",
    "models://wine/3": "with one slash after models:",
    "models:wine/3": "with one slash after models:",
    "models:/wine?x/3": "models:/<name>/<version>",
    "models:/wine\n/3": "models:/<name>/<version>",
    "models:/wine/3\n": "models:/<name>/<version>",
    "runs:/0a1b2c": "runs:/<run id>/<path",
    "runs:/0a1b2c/": "runs:/<run id>/<path",
    "runs://0a1b2c/model": "with one slash after runs:",
    "s3:/bucket/wine": "s3://bucket",
    "s3://": "s3://bucket",
    "/": "an absolute path",
    "file:relative": "an absolute path",
    "s3://key:secret@bucket/wine": "model.credentialsSecret",
    "https://user:password@example.com/wine": "model.credentialsSecret",
}
