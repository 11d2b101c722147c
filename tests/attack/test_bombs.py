"""Small bodies that become large, against a pod with a limit of 2 GiB.

Each is within MAX_BODY_BYTES. While it is read, memory stays under half of the limit, and probes
are answered.
"""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pyarrow
import pytest
import requests
from pyarrow import parquet

import mlflow_model_server
from mlflow_model_server.grpc.messages import SERVICE, message
from tests.unit.server import models
from tests.unit.server.process import Server, serving

MIB = 2**20
LIMIT = 2048 * MIB
HALF = LIMIT // 2
BODY = 16 * MIB  # the largest that such a pod takes
# Seconds: on an idle machine it is below 1.
PING = 5
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
INVOCATIONS, INFER = "/invocations", "/v2/models/mlflow-model/infer"

# The server has no more memory than a container with this limit, for all that it knows.
LIMITED = f"""\
from mlflow_model_server.runtime import cgroup

cgroup.memory_limit = lambda *_: {LIMIT}
"""
COUNTS = """\
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class Counts(PythonModel):
    def predict(self, context, model_input, params=None):
        return [len(model_input)]


set_model(Counts())
"""


class Watch:
    """Sends probes all the time, and measures the memory of all of the server's processes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = threading.Event()
        self.slowest = 0.0
        self.peak = 0

    @contextmanager
    def running(self) -> Iterator[Watch]:
        threads = [threading.Thread(target=each) for each in (self._ping, self._measure)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _ping(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                requests.get(self._server.url("/ping"), timeout=60).raise_for_status()
            finally:
                self.slowest = max(self.slowest, time.monotonic() - began)
            self._over.wait(0.05)

    def _measure(self) -> None:
        while not self._over.is_set():
            self.peak = max(self.peak, memory_of(self._server.process.pid))
            self._over.wait(0.02)


def busy() -> float:
    """How many times as long as on an idle machine a process may take."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def memory_of(group: int) -> int:
    """The bytes that the processes of a group have in memory."""
    size = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and os.getpgid(int(folder.name)) == group:
                size += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:  # it has ended
            continue
    return size


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PYTHONPATH that limits the server's memory, by its own word."""
    folder = tmp_path_factory.mktemp("limited")
    (folder / "sitecustomize.py").write_text(LIMITED)
    source = str(Path(mlflow_model_server.__file__).parents[1])
    return f"{source}{os.pathsep}{folder}"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Any, limited: str
) -> Iterator[Server]:
    """A model without a signature, which takes whatever is sent."""
    folder = tmp_path_factory.mktemp("counts")
    (folder / "model").mkdir()
    models.save_from_code(folder / "model" / "artifact", COUNTS)
    with serving(
        folder / "model", unused_tcp_port_factory(), PYTHONPATH=limited, DRIFT="off"
    ) as server:
        yield server


@pytest.fixture(scope="module")
def tables(
    tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Any, limited: str
) -> Iterator[tuple[Server, str]]:
    """A model of columns, and the address of its gRPC."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "model").mkdir()
    models.save_wine(folder / "model" / "artifact")
    grpc_port = unused_tcp_port_factory()
    variables = {"PYTHONPATH": limited, "GRPC_PORT": str(grpc_port), "DRIFT": "off"}
    with serving(folder / "model", unused_tcp_port_factory(), **variables) as server:
        yield server, f"127.0.0.1:{grpc_port}"


def repeated(head: str, part: str, tail: str, size: int = BODY) -> bytes:
    """JSON of as many parts as fit."""
    count = (size - len(head) - len(tail)) // (len(part) + 1)
    return (head + ",".join([part] * count) + tail).encode()


def named_inputs() -> bytes:
    inputs = (
        f'{{"name":"c{i:06}","datatype":"FP64","shape":[1],"data":[1]}}'
        for i in range(9 * MIB // 62)
    )
    return f'{{"inputs":[{",".join(inputs)}]}}'.encode()


def parquet_file(frame: pd.DataFrame, **options: Any) -> bytes:
    target = io.BytesIO()
    frame.to_parquet(target, **options)
    return target.getvalue()


def equal_rows() -> bytes:
    """100 million rows."""
    target, chunk = io.BytesIO(), pd.DataFrame({"a": np.zeros(10_000_000)})
    table = pyarrow.Table.from_pandas(chunk)
    with parquet.ParquetWriter(target, table.schema) as writer:
        for _ in range(10):
            writer.write_table(table, row_group_size=10_000_000)
    return target.getvalue()


def text_in_each_row(text: int, rows: int) -> bytes:
    """A text that is written once, and read as often as there are rows."""
    indices = pyarrow.array(np.zeros(rows, np.int32))
    column = pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array(["x" * text]))
    target = io.BytesIO()
    # Without Arrow's own types, which would leave it a dictionary.
    parquet.write_table(pyarrow.table({"t": column}), target, store_schema=False)
    return target.getvalue()


BOMBS: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "empty lists": (INVOCATIONS, JSON, lambda: repeated('{"inputs":[', "[]", "]}")),
    "empty objects": (INVOCATIONS, JSON, lambda: repeated('{"inputs":[', "{}", "]}")),
    "empty lists, streamed": (
        INVOCATIONS,
        JSON,
        lambda: repeated('{"stream":true,"inputs":[', "[]", "]}"),
    ),
    "nested lists": (INVOCATIONS, JSON, lambda: repeated('{"inputs":[', "[[[[1]]]]", "]}")),
    "empty rows": (
        INVOCATIONS,
        JSON,
        lambda: repeated('{"dataframe_split":{"columns":["a"],"data":[', "[]", "]}}"),
    ),
    "records": (INVOCATIONS, JSON, lambda: repeated('{"dataframe_records":[', '{"a":1}', "]}")),
    "instances": (INVOCATIONS, JSON, lambda: repeated('{"instances":[', '{"a":1}', "]}")),
    "a long row before empty ones": (
        INVOCATIONS,
        JSON,
        lambda: repeated(
            '{"dataframe_split":{"data":[[' + "1," * 15_000 + "1],", "[]", "]}}", 400_000
        ),
    ),
    "each record with a key of its own": (
        INVOCATIONS,
        JSON,
        lambda: json.dumps({"dataframe_records": [{f"{i:x}": 1} for i in range(19_000)]}).encode(),
    ),
    "each column with a row of its own": (
        INVOCATIONS,
        JSON,
        lambda: json.dumps(
            {"dataframe_split": {"data": {f"{i:x}": {f"{i:x}": 1} for i in range(19_000)}}}
        ).encode(),
    ),
    "a long text among short ones": (
        INVOCATIONS,
        JSON,
        lambda: repeated('{"inputs":["' + "x" * (8 * MIB) + '",', '"a"', "]}", 9 * MIB),
    ),
    "columns": (
        INVOCATIONS,
        JSON,
        lambda: json.dumps({"dataframe_records": [{f"{i:x}": 1 for i in range(10**6)}]}).encode(),
    ),
    "commas": (INVOCATIONS, CSV, lambda: b"," * MIB),
    "commas in the second line": (INVOCATIONS, CSV, lambda: b"a\n" + b"," * MIB),
    "commas after empty lines": (INVOCATIONS, CSV, lambda: b"\r\n\n\r" * 9 + b"," * MIB),
    "commas in a row of quoted lines": (INVOCATIONS, CSV, lambda: b'"\n",' * (MIB // 4)),
    "commas between quotes that are none": (
        INVOCATIONS,
        CSV,
        lambda: b'a"' + b"," * MIB + b'"\n1\n',
    ),
    "lines": (INVOCATIONS, CSV, lambda: b"a\n" + b"1\n" * (8 * MIB - 2)),
    "lines of carriage returns": (INVOCATIONS, CSV, lambda: b"a\r" + b"1\r" * (8 * MIB - 2)),
    "equal rows": (INVOCATIONS, PARQUET, equal_rows),
    "a text in each row": (INVOCATIONS, PARQUET, lambda: text_in_each_row(100_000, 100_000)),
    "texts that begin alike": (
        INVOCATIONS,
        PARQUET,
        lambda: parquet_file(
            pd.DataFrame({"t": ["x" * 20_000 + str(i) for i in range(20_000)]}),
            use_dictionary=False,
            column_encoding={"t": "DELTA_BYTE_ARRAY"},
        ),
    ),
    "a list of many numbers": (
        INVOCATIONS,
        PARQUET,
        lambda: parquet_file(pd.DataFrame({"l": [np.zeros(12_000_000)]})),
    ),
    "a page of zeros": (
        INVOCATIONS,
        PARQUET,
        lambda: parquet_file(pd.DataFrame({"a": [b"\0" * (160 * MIB)]}), compression="zstd"),
    ),
    "columns of Parquet": (
        INVOCATIONS,
        PARQUET,
        lambda: parquet_file(pd.DataFrame([range(25_000)], columns=list(map(str, range(25_000))))),
    ),
    "inputs with names": (INFER, JSON, named_inputs),
    "elements that are lists": (
        INFER,
        JSON,
        lambda: repeated(
            '{"inputs":[{"name":"a","datatype":"FP64","shape":[1],"data":[', "[]", "]}]}"
        ),
    ),
    "outputs": (
        INFER,
        JSON,
        lambda: repeated(
            '{"inputs":[{"name":"a","datatype":"FP64","shape":[1],"data":[1]}],"outputs":[',
            '{"name":"y"}',
            "]}",
        ),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_body_that_becomes_large(server: Server, name: str) -> None:
    path, content_type, make = BOMBS[name]
    body = make()
    assert len(body) <= BODY
    with Watch(server).running() as watch:
        answer = requests.post(
            server.url(path), data=body, headers={"content-type": content_type}, timeout=120
        )
    assert answer.status_code in (400, 413), answer.text[:300]
    assert len(answer.content) < 1000
    assert watch.peak < HALF, f"{watch.peak >> 20} MiB"
    assert watch.slowest < PING * busy(), f"{watch.slowest:.1f} s"


def rows_of(cell: str, cells: int, rows: int = 100_000) -> bytes:
    """JSON of rows that are all alike."""
    row = f"[{','.join([cell] * cells)}]"
    return f'{{"inputs":[{",".join([row] * rows)}]}}'.encode()


def _inputs_with_names() -> bytes:
    inputs = (f'{{"name":"{i}","datatype":"FP64","shape":[1],"data":[1]}}' for i in range(20_000))
    parameters = '"parameters":{"content_type":"pd"}'
    return f'{{{parameters},"inputs":[{",".join(inputs)}]}}'.encode()


def _open_inference(rows: int, columns: int) -> bytes:
    data = ",".join(["0.5"] * (rows * columns))
    described = f'"name":"a","datatype":"FP64","shape":[{rows},{columns}]'
    return f'{{"inputs":[{{{described},"data":[{data}]}}]}}'.encode()


# Nearly as much as is let through, so all of it is parsed.
LARGEST: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "lists": (INVOCATIONS, JSON, lambda: rows_of("[]", 15)),
    "objects": (INVOCATIONS, JSON, lambda: rows_of("{}", 15)),
    "lists of one": (INVOCATIONS, JSON, lambda: rows_of("[1]", 15)),
    "nested lists": (INVOCATIONS, JSON, lambda: rows_of("[[[1]]]", 5)),
    "numbers": (INVOCATIONS, JSON, lambda: rows_of("0.1", 40)),
    "small numbers": (INVOCATIONS, JSON, lambda: rows_of("1", 80)),
    "texts": (INVOCATIONS, JSON, lambda: rows_of('"ab"', 32)),
    "records": (
        INVOCATIONS,
        JSON,
        lambda: (
            '{"dataframe_records":[' + ",".join(['{"a":1,"b":0.5,"c":"x"}'] * 100_000) + "]}"
        ).encode(),
    ),
    "wide tables": (
        INVOCATIONS,
        JSON,
        lambda: rows_of("0", 20_000, 400).replace(b'"inputs"', b'"instances"'),
    ),
    "characters of 4 bytes": (
        INVOCATIONS,
        JSON,
        lambda: ('{"inputs":["' + "x" * (BODY - 100) + '\U0001f600"]}').encode(),
    ),
    "not UTF-8": (INVOCATIONS, JSON, lambda: b"\xff" * BODY),
    "no JSON": (INVOCATIONS, JSON, lambda: b"x" * BODY),
    "CSV": (
        INVOCATIONS,
        CSV,
        lambda: b"a,b,c,d,e,f,g,h,i,j\n" + b"0.1,1,2,3,4,5,6,7,8,9\n" * 100_000,
    ),
    "wide CSV": (
        INVOCATIONS,
        CSV,
        lambda: (
            b",".join(b"c%d" % i for i in range(20_000)) + (b"\n" + b"1," * 19_999 + b"1") * 200
        ),
    ),
    "CSV that is not UTF-8": (INVOCATIONS, CSV, lambda: b"a\n" + b"\xff" * (BODY - 2)),
    "Parquet": (
        INVOCATIONS,
        PARQUET,
        lambda: parquet_file(pd.DataFrame(np.zeros((100_000, 70))).rename(columns=str)),
    ),
    "texts of Parquet": (INVOCATIONS, PARQUET, lambda: text_in_each_row(1_000, 100_000)),
    "numbers of Open Inference": (INFER, JSON, lambda: _open_inference(100_000, 40)),
    "inputs with names": (INFER, JSON, _inputs_with_names),
}


@pytest.mark.parametrize("name", LARGEST)
def test_as_much_as_is_let_through(server: Server, name: str) -> None:
    path, content_type, make = LARGEST[name]
    body = make()
    assert len(body) <= BODY
    with Watch(server).running() as watch:
        answer = requests.post(
            server.url(path), data=body, headers={"content-type": content_type}, timeout=120
        )
    assert answer.status_code == (400 if "UTF-8" in name or name == "no JSON" else 200), answer.text
    assert watch.peak < HALF, f"{watch.peak >> 20} MiB"
    assert watch.slowest < PING * busy(), f"{watch.slowest:.1f} s"


def test_many_of_them_at_once(server: Server) -> None:
    """No sequence of requests ends the pod."""
    bodies = [make() for _, _, make in (LARGEST["lists"], LARGEST["numbers"], LARGEST["texts"])]
    parquet_body = LARGEST["Parquet"][2]()

    def post(body: bytes, content_type: str) -> int:
        headers = {"content-type": content_type}
        url = server.url(INVOCATIONS)
        return requests.post(url, data=body, headers=headers, timeout=120).status_code

    requests_to_send = [(body, JSON) for body in bodies * 3] + [(parquet_body, PARQUET)] * 3
    with Watch(server).running() as watch, ThreadPoolExecutor(len(requests_to_send)) as pool:
        statuses = set(pool.map(post, *zip(*requests_to_send, strict=True)))
    assert statuses <= {200, 503, 504}, statuses
    assert watch.peak < LIMIT * 3 // 4, f"{watch.peak >> 20} MiB"
    assert watch.slowest < PING * busy(), f"{watch.slowest:.1f} s"


def test_messages_of_grpc_that_become_large(tables: tuple[Server, str]) -> None:
    server, address = tables
    empty = message("ModelInferRequest")()
    for _ in range(1_000_000):
        empty.inputs.add()
    many = message("ModelInferRequest")(raw_input_contents=[b""] * 1_500_000)
    names = message("ModelInferRequest")()
    for _ in range(1_000_000):
        names.outputs.add()
    with Watch(server).running() as watch, grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        for request in (empty, many, names):
            request.model_name = "mlflow-model"
            with pytest.raises(grpc.RpcError) as refused:
                call(request.SerializeToString(), timeout=60)
            assert refused.value.code() in (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.StatusCode.INVALID_ARGUMENT,
            )
            assert len(refused.value.details() or "") < 500
    assert watch.peak < HALF, f"{watch.peak >> 20} MiB"
    assert watch.slowest < PING * busy(), f"{watch.slowest:.1f} s"
