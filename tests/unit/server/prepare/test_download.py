"""Fetching from folders, a registry, S3 (moto's), and from where there is nothing."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import mlflow
import pytest
from moto.server import ThreadedMotoServer

from mlflow_model_server.prepare.download import fetch
from mlflow_model_server.prepare.init_container import prepare
from mlflow_model_server.runtime.termination import StartupError
from mlflow_model_server.settings import Settings

MLMODEL = "flavors: {python_function: {loader_module: mlflow.sklearn}}\n"
AT_ONCE = (0.0, 0.0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "data" / "weights").write_text("1")
    return folder


def failure(settings: Settings, uri: str) -> StartupError:
    with pytest.raises(StartupError) as failed:
        fetch(dataclasses.replace(settings, model_uri=uri), AT_ONCE)
    return failed.value


@pytest.fixture
def requests_seen() -> list[str]:
    return []


@pytest.fixture
def refusing_server(requests_seen: list[str]) -> Iterator[str]:
    """A tracking server that answers 403 to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests_seen.append(self.path)
            self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("form", ["{}", "file://{}", "file:{}"])
def test_a_model_on_a_volume_is_used_where_it_is(
    settings: Settings, model: Path, form: str
) -> None:
    content = fetch(dataclasses.replace(settings, model_uri=form.format(model)))
    assert settings.artifact.resolve() == model
    assert "python_function" in content["flavors"]


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return mlflow.MlflowClient(uri)


def test_what_mlflow_keeps_is_fetched(
    settings: Settings, model: Path, tmp_path: Path, tracking: mlflow.MlflowClient
) -> None:
    experiment = tracking.create_experiment("wine", artifact_location=(tmp_path / "kept").as_uri())
    logged = tracking.create_logged_model(experiment, name="wine").model_id
    tracking.log_model_artifacts(logged, str(model))
    run = tracking.create_run(experiment).info.run_id
    tracking.log_artifacts(run, str(model), "model")
    tracking.create_registered_model("wine")
    tracking.create_model_version("wine", model.as_uri())
    for uri in (f"models:/{logged}", f"runs:/{run}/model", "models:/wine/1"):
        fetch(dataclasses.replace(settings, model_uri=uri))
        assert not settings.artifact.is_symlink()
        assert (settings.artifact / "data" / "weights").read_text() == "1"
        assert not (settings.model_dir / "download").exists()


@pytest.mark.parametrize("uri", ["models:/wine/1", "runs:/1f/model", "mlflow-artifacts:/1/model"])
def test_no_tracking_server_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "set MLFLOW_TRACKING_URI" in failure(settings, uri).message


def test_a_model_in_s3_is_fetched(
    settings: Settings, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    try:
        storage = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        storage.create_bucket(Bucket="models")
        for path in model.rglob("*"):
            if path.is_file():
                storage.upload_file(str(path), "models", f"wine/{path.relative_to(model)}")
        fetch(dataclasses.replace(settings, model_uri="s3://models/wine"))
        assert (settings.artifact / "data" / "weights").read_text() == "1"
        told = failure(settings, "s3://elsewhere/wine")
        assert told.reason == "ArtifactUnreadable"
        assert told.message.startswith("s3://elsewhere/wine can't be downloaded: ")
    finally:
        server.stop()


def test_an_earlier_model_is_replaced(settings: Settings, model: Path, tmp_path: Path) -> None:
    fetch(settings)
    other = tmp_path / "other"
    other.mkdir()
    (other / "MLmodel").write_text(MLMODEL)
    fetch(dataclasses.replace(settings, model_uri=str(other)))
    assert settings.artifact.resolve() == other
    assert (model / "MLmodel").exists()


def test_a_folder_that_is_not_there_is_told(settings: Settings, tmp_path: Path) -> None:
    told = failure(settings, str(tmp_path / "gone"))
    assert told.reason == "ArtifactUnreadable"
    assert "mount the volume" in told.message


def test_no_uri_is_told(settings: Settings) -> None:
    assert "MODEL_URI is not set" in failure(settings, "").message


def test_what_passes_is_tried_again(
    settings: Settings,
    unused_tcp_port: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{unused_tcp_port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    told = failure(settings, "models:/wine/1")
    assert told.reason == "ArtifactServerUnreachable"
    again = [r for r in caplog.records if "trying again" in r.getMessage()]
    assert [record.levelno for record in again] == [logging.WARNING] * 2


def test_what_does_not_pass_is_tried_once(
    settings: Settings,
    refusing_server: str,
    requests_seen: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", refusing_server)
    refused = failure(settings, "models:/wine/1")
    assert refused.reason == "ArtifactUnauthorized"
    assert "403" in refused.message
    assert len(requests_seen) == 1


@pytest.mark.parametrize(
    ("mlmodel", "sentence"),
    [
        (None, "has no MLmodel file"),
        ("flavors: [", "is not YAML"),
        ("flavors: {sklearn: {}, spark: {}}", "no python_function flavor (its flavors: sklearn, "),
        ("", "no python_function flavor (its flavors: none)"),
    ],
)
def test_what_is_no_model_is_told(
    settings: Settings, model: Path, mlmodel: str | None, sentence: str
) -> None:
    (model / "MLmodel").unlink()
    if mlmodel is not None:
        (model / "MLmodel").write_text(mlmodel)
    told = failure(settings, str(model))
    assert told.reason == "InvalidModel"
    assert sentence in told.message


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_an_mlmodel_file_in_another_encoding_is_refused(
    settings: Settings, model: Path, encoding: str
) -> None:
    (model / "MLmodel").write_text(f"# é\n{MLMODEL}", encoding=encoding)
    refused = failure(settings, str(model))
    assert refused.reason == "InvalidModel"
    assert refused.message.endswith("is not UTF-8: save it as UTF-8")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "a: 2026-13-45", "a: &x [*x, *y]", "? {a: [}", "\0", "a: !!python/x 1"]
)
def test_an_odd_mlmodel_file_is_refused_and_not_repeated(
    settings: Settings, model: Path, text: str
) -> None:
    (model / "MLmodel").write_text(f"secret: 4711\n{text}\n{MLMODEL}")
    refused = failure(settings, str(model))
    assert refused.reason == "InvalidModel"
    assert "is not YAML" in refused.message and "4711" not in refused.message


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("https://127.0.0.1:9/model", "is not a URI that MLflow can download: write models:/"),
        ("https://me:secret@example.com/m", "https://***@example.com/m is not a URI that MLflow"),
        ("hello", "hello is not a URI that MLflow can download: write models:/"),
        ("oss://bucket/model", "is not a URI that MLflow can download: write models:/"),
        ("hf://org/model", "is not a URI that MLflow can download: write models:/"),
        ("http://[::1", "http://[::1 is not a URI: Invalid IPv6 URL"),
        ("file://[x", "file://[x is not a URI: Invalid IPv6 URL"),
        ("dbfs:/models/x", "is a file of Databricks: set MLFLOW_TRACKING_URI=databricks, DATABR"),
        ("wasbs://c@a.blob.core.windows.net/m", "the image has no package 'azure', which MLflow"),
        (
            "sftp://127.0.0.1:9/m",
            "the image has no package 'paramiko', which MLflow needs for that",
        ),
        ("models:/", "Not a proper models:/ URI"),
        ("models:/wine@", "Not a proper models:/ URI"),
        ("runs:/", "Not a proper runs:/ URI"),
        (
            "mlflow-artifacts://127.0.0.1:8/x",
            "is not on the tracking server, and MLflow would send",
        ),
        ("mlflow-artifacts://5/x", "is not on the tracking server"),
        ("mlflow-artifacts://x:99999999/x", "is not on the tracking server"),
    ],
)
def test_a_uri_that_can_t_be_downloaded_is_refused_in_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, uri: str, sentence: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    refused = failure(settings, uri)
    assert refused.reason == "ArtifactUnreadable"
    assert sentence in refused.message
    assert "secret" not in refused.message


def test_an_error_that_nobody_foresaw_is_a_message_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "symlink_to", full)
    with pytest.raises(StartupError, match="No space left on device") as failed:
        prepare(settings)
    assert failed.value.reason == "ArtifactUnreadable"


def test_prepare_does_its_work_once(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    prepare(settings)
    with caplog.at_level("INFO"):
        prepare(settings)
    assert "is already prepared" in caplog.text
