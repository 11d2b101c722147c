"""Bodies that become large, and what they do to a server with a limit of 2 GiB."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pyarrow
import requests
from pyarrow import parquet

import mlflow_model_server
from mlflow_model_server.grpc.messages import SERVICE, message
from tests.unit.server import models
from tests.unit.server.agents import agent_models, tracking_servers
from tests.unit.server.process import Server, serving

MIB = 2**20
LIMIT = 2048 * MIB
HALF = LIMIT // 2
BODY = 16 * MIB  # the largest that such a pod takes
# Seconds. No timing decides a test: this only finds a server that has stopped answering. That it is
# within 1 s is measured on a quiet machine, by `python -m tests.attack.figures`.
PING = 5
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
BINARY = "application/octet-stream"
INVOCATIONS, INFER = "/invocations", "/v2/models/mlflow-model/infer"
# Not a path: the message is sent by gRPC.
GRPC = f"/{SERVICE}/ModelInfer"
MESSAGE = 4 * MIB  # the largest of gRPC
SECONDS = 120

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


@dataclass(frozen=True)
class Target:
    """A server with that limit."""

    server: Server
    grpc_address: str

    def channel(self) -> grpc.Channel:
        """To its gRPC."""
        return grpc.insecure_channel(self.grpc_address)

    def post(self, path: str, content_type: str, body: bytes) -> requests.Response:
        """Its answer by HTTP."""
        headers = {"content-type": content_type}
        if content_type == BINARY:
            end = body.index(b"}]}") + 3
            headers["inference-header-content-length"] = str(end)
        return requests.post(self.server.url(path), data=body, headers=headers, timeout=SECONDS)

    def send(self, path: str, content_type: str, body: bytes) -> int:
        """The status of its answer, or the one that stands for that of gRPC."""
        if path != GRPC:
            return self.post(path, content_type, body).status_code
        try:
            with self.channel() as channel:
                channel.unary_unary(GRPC)(body, timeout=SECONDS)
        except grpc.RpcError as error:
            return {"UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504}.get(error.code().name, 400)
        return 200


@contextmanager
def counting(folder: Path, port: int, grpc_port: int) -> Iterator[Target]:
    """A model without a signature, which takes whatever is sent."""
    (folder / "model").mkdir()
    models.save_from_code(folder / "model" / "artifact", COUNTS)
    with _limited(folder, port, grpc_port) as target:
        yield target


@contextmanager
def of_columns(folder: Path, port: int, grpc_port: int) -> Iterator[Target]:
    """A model of columns."""
    (folder / "model").mkdir()
    models.save_wine(folder / "model" / "artifact")
    with _limited(folder, port, grpc_port) as target:
        yield target


def of_chats(folder: Path, port: int, grpc_port: int) -> AbstractContextManager[Target]:
    """An agent, which is sent chats."""
    return _of_agent(agent_models.CHAT_MODEL, folder, port, grpc_port)


def of_traced_chats(folder: Path, port: int, grpc_port: int) -> AbstractContextManager[Target]:
    """The same, with traces that can't be written."""
    return _of_traced_agent(agent_models.CHAT_MODEL, folder, port, grpc_port)


def of_traced_answers(folder: Path, port: int, grpc_port: int) -> AbstractContextManager[Target]:
    """The same of an agent whose answers are as large as it is asked for."""
    return _of_traced_agent(agent_models.RESPONSES_AGENT, folder, port, grpc_port)


@contextmanager
def _of_traced_agent(code: str, folder: Path, port: int, grpc_port: int) -> Iterator[Target]:
    """Its traces go to a server that takes none, but has the experiment."""
    with tracking_servers.stuck() as uri:
        variables = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_ID": "1"}
        with _of_agent(code, folder, port, grpc_port, **variables) as target:
            yield target


@contextmanager
def _of_agent(code: str, folder: Path, port: int, grpc_port: int, **more: str) -> Iterator[Target]:
    (folder / "model").mkdir()
    agent_models.save(folder / "model" / "artifact", code)
    with _limited(folder, port, grpc_port, AGENT_FOLDER=str(folder), **more) as target:
        yield target


@contextmanager
def _limited(folder: Path, port: int, grpc_port: int, **more: str) -> Iterator[Target]:
    (folder / "sitecustomize.py").write_text(LIMITED)
    source = str(Path(mlflow_model_server.__file__).parents[1])
    variables = {
        "PYTHONPATH": f"{source}{os.pathsep}{folder}",
        "GRPC_PORT": str(grpc_port),
        "DRIFT": "off",
        **more,
    }
    with serving(folder / "model", port, **variables) as server:
        yield Target(server, f"127.0.0.1:{grpc_port}")


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
    "a shorter text in each row": (INVOCATIONS, PARQUET, lambda: text_in_each_row(3_500, 100_000)),
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


def _open_inference_bytes(rows: int, columns: int) -> bytes:
    raw = np.zeros((rows, columns)).tobytes()
    described = f'"name":"a","datatype":"FP64","shape":[{rows},{columns}]'
    parameters = f'"parameters":{{"binary_data_size":{len(raw)}}}'
    return f'{{"inputs":[{{{described},{parameters}}}]}}'.encode() + raw


def _grpc_numbers(rows: int, columns: int) -> bytes:
    request = message("ModelInferRequest")(model_name="mlflow-model")
    tensor = request.inputs.add(name="a", datatype="FP64", shape=[rows, columns])
    tensor.contents.fp64_contents.extend([0.5] * (rows * columns))
    return bytes(request.SerializeToString())


def _grpc_bytes(rows: int, columns: int) -> bytes:
    raw = np.zeros((rows, columns)).tobytes()
    request = message("ModelInferRequest")(model_name="mlflow-model", raw_input_contents=[raw])
    request.inputs.add(name="a", datatype="FP64", shape=[rows, columns])
    return bytes(request.SerializeToString())


def _grpc_texts(elements: int) -> bytes:
    request = message("ModelInferRequest")(model_name="mlflow-model")
    tensor = request.inputs.add(name="a", datatype="BYTES", shape=[elements])
    tensor.contents.bytes_contents.extend([b"ab"] * elements)
    return bytes(request.SerializeToString())


def split_of(cell: str, cells: int, rows: int = 100_000) -> bytes:
    """The same by dataframe_split."""
    columns = ",".join(f'"c{i}"' for i in range(cells))
    row = f"[{','.join([cell] * cells)}]"
    data = ",".join([row] * rows)
    return f'{{"dataframe_split":{{"columns":[{columns}],"data":[{data}]}}}}'.encode()


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
    "split": (INVOCATIONS, JSON, lambda: split_of("0.1", 40)),
    "split texts": (INVOCATIONS, JSON, lambda: split_of('"ab"', 32)),
    "instances": (
        INVOCATIONS,
        JSON,
        lambda: rows_of("0.1", 40).replace(b'"inputs"', b'"instances"'),
    ),
    "bytes of Open Inference": (INFER, BINARY, lambda: _open_inference_bytes(100_000, 20)),
    "numbers of gRPC": (GRPC, "", lambda: _grpc_numbers(52_000, 10)),
    "bytes of gRPC": (GRPC, "", lambda: _grpc_bytes(52_000, 10)),
    "texts of gRPC": (GRPC, "", lambda: _grpc_texts(100_000)),
    "numbers of Open Inference": (INFER, JSON, lambda: _open_inference(100_000, 40)),
    "inputs with names": (INFER, JSON, _inputs_with_names),
}

CHATS = "/v1/chat/completions"


def _chat(part: str, size: int = BODY) -> bytes:
    return repeated('{"messages":[', part, "]}", size)


# Bodies for agents, by name: some are refused, of others nearly as much as is let through.
OF_AGENTS: dict[str, Callable[[], bytes]] = {
    "lists": lambda: _chat("[]"),
    "objects": lambda: _chat("{}"),
    "depth": lambda: b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "messages": lambda: _chat('{"role":"user","content":"a"}'),
    "fewer messages": lambda: _chat('{"role":"user","content":"a"}', 2 * MIB),
    "parts": lambda: (
        b'{"messages":[{"role":"user","content":'
        + repeated("[", '{"type":"text","text":"a"}', "]", 2 * MIB)
        + b"}]}"
    ),
    "tools": lambda: (
        b'{"messages":[{"role":"user","content":"fine"}],"tools":'
        + repeated("[", '{"type":"function","function":{"name":"f"}}', "]", 2 * MIB)
        + b"}"
    ),
    "a long text": lambda: _chat('{"role":"user","content":"' + "x" * (BODY - 100) + '"}'),
    "characters of 4 bytes": lambda: (
        '{"messages":[{"role":"user","content":"' + "x" * (BODY - 100) + '\U0001f600"}]}'
    ).encode(),
}
