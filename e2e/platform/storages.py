"""Object stores in the cluster, S3 and Google Cloud Storage, each with a model in a bucket."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import boto3
import requests

from dev import kube
from dev.cluster import cluster
from dev.cluster.baseimage import ensure_base_image
from dev.cluster.engine import ensure_engine, image_exists
from dev.cluster.files import fingerprint
from dev.cluster.settings import read_settings
from dev.cluster.shell import run
from e2e import models
from e2e.platform.pods import server_pod, wait_until_ready

FOLDER = Path(__file__).parent
NAMESPACE = "storage"
# What examples/storage-uri.yaml says.
BUCKET, PREFIX = "models", "wine"
S3_KEYS = {"aws_access_key_id": "wine", "aws_secret_access_key": "bottle"}
UPLOAD_SECONDS = 30


@dataclass(frozen=True)
class Store:
    """A server of one protocol."""

    name: str
    port: int

    @property
    def url(self) -> str:
        """Where pods find it."""
        return f"http://{self.name}.{NAMESPACE}:{self.port}"


S3 = Store("s3", 9000)
GCS = Store("gcs", 9001)

COMMANDS = {
    # Else it takes the "s3" of its host name for a bucket.
    S3: ["env", "S3_IGNORE_SUBDOMAIN_BUCKETNAME=true", "moto_server", "--host=0.0.0.0"],
    GCS: ["gcp-storage-emulator", "start", "--host=0.0.0.0", "--in-memory", "--quiet"],
}


def bring_up_storages() -> None:
    """Servers with the tests' model of version 1 in s3://models/wine and gs://models/wine."""
    image = _ensure_image()
    kube.apply(kube.restricted_namespace(NAMESPACE))
    for store, command in COMMANDS.items():
        command = [*command, f"--port={store.port}"]
        kube.apply(*server_pod(store.name, NAMESPACE, image, command, store.port))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        models.save("1", model)
        files = list(models.files_below(model))
    for store, upload in ((S3, _upload_to_s3), (GCS, _upload_to_gcs)):
        wait_until_ready(store.name, NAMESPACE)
        with _forwarded(store) as url:
            upload(url, files)


def _ensure_image() -> str:
    settings = read_settings()
    engine = ensure_engine(settings)
    base = ensure_base_image(settings, engine)
    inputs = [(FOLDER / name).read_text() for name in ("storages.Dockerfile", "storages.lock")]
    image = f"mlflow-model-operator/storages:{fingerprint(base, *inputs)}"
    if not image_exists(engine, image):
        run(
            *("docker", "build", f"--file={FOLDER / 'storages.Dockerfile'}"),
            *(f"--build-arg=BASE_IMAGE={base}", f"--tag={image}", str(FOLDER)),
            env=engine.env,
            log="image-storages",
        )
    cluster.load(settings, [image])
    return image


@contextmanager
def _forwarded(store: Store) -> Iterator[str]:
    """A port of this machine that leads to the server."""
    service = f"service/{store.name}"
    command = ["kubectl", "port-forward", f"--namespace={NAMESPACE}", service, f":{store.port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            first = forward.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", first)
            assert found is not None, f"kubectl port-forward says {first!r}"
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            forward.terminate()


def _upload_to_s3(url: str, files: list[tuple[str, bytes]]) -> None:
    storage = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **S3_KEYS)
    storage.create_bucket(Bucket=BUCKET)
    for path, content in files:
        storage.put_object(Bucket=BUCKET, Key=f"{PREFIX}/{path}", Body=content)


def _upload_to_gcs(url: str, files: list[tuple[str, bytes]]) -> None:
    # Its JSON API; Google's client is in the scoring image only.
    buckets = f"{url}/storage/v1/b?project=tests"
    made = requests.post(buckets, json={"name": BUCKET}, timeout=UPLOAD_SECONDS)
    if made.status_code != requests.codes.conflict:  # it is there from the run before
        made.raise_for_status()
    for path, content in files:
        name = quote(f"{PREFIX}/{path}", safe="")
        target = f"{url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
        requests.post(target, data=content, timeout=UPLOAD_SECONDS).raise_for_status()
