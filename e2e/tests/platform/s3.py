"""An S3 server in the cluster, with a model in a bucket."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from e2e import kube
from e2e.cluster import cluster
from e2e.cluster.baseimage import ensure_base_image
from e2e.cluster.engine import ensure_engine, image_exists
from e2e.cluster.files import fingerprint
from e2e.cluster.settings import read_settings
from e2e.cluster.shell import run
from e2e.tests import models
from e2e.tests.platform.pods import server_pod, wait_until_ready

FOLDER = Path(__file__).parent
NAME, NAMESPACE, PORT = "s3", "storage", 9000
URL_IN_CLUSTER = f"http://{NAME}.{NAMESPACE}:{PORT}"
# What examples/storage-uri.yaml says.
BUCKET, PREFIX = "models", "wine"
KEYS = {"aws_access_key_id": "wine", "aws_secret_access_key": "bottle"}


def bring_up_s3() -> None:
    """A server with the tests' model of version 1 in s3://models/wine."""
    image = _ensure_image()
    kube.apply(kube.restricted_namespace(NAMESPACE))
    kube.apply(*server_pod(NAME, NAMESPACE, image, _command(), PORT))
    wait_until_ready(NAME, NAMESPACE)
    with _forwarded() as url:
        _upload(url)


def _command() -> list[str]:
    # Else it takes the "s3" of its host name for a bucket.
    return [
        "env",
        "S3_IGNORE_SUBDOMAIN_BUCKETNAME=true",
        "moto_server",
        "--host=0.0.0.0",
        f"--port={PORT}",
    ]


def _ensure_image() -> str:
    settings = read_settings()
    engine = ensure_engine(settings)
    base = ensure_base_image(settings, engine)
    inputs = [(FOLDER / name).read_text() for name in ("s3.Dockerfile", "s3.lock")]
    image = f"mlflow-model-operator/s3:{fingerprint(base, *inputs)}"
    if not image_exists(engine, image):
        run(
            *("docker", "build", f"--file={FOLDER / 's3.Dockerfile'}"),
            *(f"--build-arg=BASE_IMAGE={base}", f"--tag={image}", str(FOLDER)),
            env=engine.env,
            log="image-s3",
        )
    cluster.load(settings, [image])
    return image


@contextmanager
def _forwarded() -> Iterator[str]:
    """A port of this machine that leads to the server."""
    command = ["kubectl", "port-forward", f"--namespace={NAMESPACE}", f"service/{NAME}", f":{PORT}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            first = forward.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", first)
            assert found is not None, f"kubectl port-forward says {first!r}"
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            forward.terminate()


def _upload(url: str) -> None:
    storage = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **KEYS)
    storage.create_bucket(Bucket=BUCKET)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        models.save("1", model)
        for path, content in models.files_below(model):
            storage.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{path}", Body=content)
