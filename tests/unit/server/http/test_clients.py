"""HTTP clients as people use them, with their defaults, each for two requests on a connection."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests
from sklearn.datasets import load_wine

from tests.unit.server import models
from tests.unit.server.process import Server, serving

SECONDS = 120
FRAME, _ = load_wine(return_X_y=True, as_frame=True)
# With the row's label: it is what `to_dict` gives.
BODY = json.dumps({"dataframe_split": FRAME.iloc[[70]].to_dict(orient="split")})
INFER_BODY = json.dumps(
    {
        "inputs": [
            {"name": name, "datatype": "FP64", "shape": [1], "data": [FRAME[name].iloc[70]]}
            for name in FRAME.columns
        ]
    }
)
JSON = {"Content-Type": "application/json"}
INFER = "/v2/models/mlflow-model/infer"

JAVA = """\
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

class Asks {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        for (int i = 0; i < arguments.length; i += 2) {
            var request = HttpRequest.newBuilder(URI.create(arguments[i]))
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofString(arguments[i + 1])).build();
            var response = client.send(request, BodyHandlers.ofString());
            System.out.println(response.statusCode() + " " + response.body());
        }
    }
}
"""
NODE = """\
const given = process.argv.slice(2);
for (let i = 0; i < given.length; i += 2) {
  const response = await fetch(given[i], {
    method: "POST", headers: {"Content-Type": "application/json"}, body: given[i + 1],
  });
  console.log(response.status, await response.text());
}
"""
GO = """\
package main

import ("fmt"; "io"; "net/http"; "os"; "strings")

func main() {
    for i := 1; i < len(os.Args); i += 2 {
        body := strings.NewReader(os.Args[i+1])
        response, err := http.Post(os.Args[i], "application/json", body)
        if err != nil { panic(err) }
        text, _ := io.ReadAll(response.Body)
        fmt.Println(response.StatusCode, string(text))
    }
}
"""


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Callable[[], int]
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    models.save_wine(folder / "model" / "artifact")
    with serving(folder / "model", unused_tcp_port_factory()) as server:
        yield server


def check(answers: list[tuple[int, Any]]) -> None:
    """Of /invocations, the other protocol, and /invocations again."""
    predicted = models_prediction(answers[0])
    assert predicted == {"predictions": [1]}
    assert models_prediction(answers[1])["outputs"][0]["data"] == [1]
    assert models_prediction(answers[2]) == predicted


def models_prediction(answer: tuple[int, Any]) -> Any:
    status, body = answer
    assert status == 200, body
    return json.loads(body) if isinstance(body, str) else body


def asked(server: Server) -> list[tuple[str, str]]:
    invoke, infer = server.url("/invocations"), server.url(INFER)
    return [(invoke, BODY), (infer, INFER_BODY), (invoke, BODY)]


def run(server: Server, *command: str | Path) -> None:
    """A program that gets URLs and bodies in turns, and writes a line for each answer."""
    given = [text for pair in asked(server) for text in pair]
    done = subprocess.run(
        [*map(str, command), *given], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    check([(int(status), body) for status, _, body in lines])


def needs(program: str) -> Any:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"no {program} here")


def test_requests(server: Server) -> None:
    with requests.Session() as session:
        answers = [session.post(url, data=body, headers=JSON) for url, body in asked(server)]
    check([(answer.status_code, answer.text) for answer in answers])


def test_httpx(server: Server) -> None:
    with httpx.Client(timeout=SECONDS) as client:
        answers = [client.post(url, content=body, headers=JSON) for url, body in asked(server)]
    check([(answer.status_code, answer.text) for answer in answers])


def test_aiohttp(server: Server) -> None:
    async def ask() -> list[tuple[int, Any]]:
        async with aiohttp.ClientSession() as session:
            answers = []
            for url, body in asked(server):
                async with session.post(url, json=json.loads(body), compress="gzip") as answer:
                    answers.append((answer.status, await answer.text()))
            return answers

    check(asyncio.run(ask()))


@needs("java")
def test_java(server: Server, tmp_path: Path) -> None:
    """It asks for HTTP/2 with the body of its first request."""
    (tmp_path / "Asks.java").write_text(JAVA)
    run(server, "java", tmp_path / "Asks.java")


@needs("node")
def test_node(server: Server, tmp_path: Path) -> None:
    (tmp_path / "asks.mjs").write_text(NODE)
    run(server, "node", tmp_path / "asks.mjs")


@needs("go")
def test_go(server: Server, tmp_path: Path) -> None:
    (tmp_path / "asks.go").write_text(GO)
    built = subprocess.run(
        ["go", "build", "-o", tmp_path / "asks", tmp_path / "asks.go"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert built.returncode == 0, built.stderr
    run(server, tmp_path / "asks")


@needs("curl")
@pytest.mark.parametrize(
    "options",
    [[], ["--http2"], ["--http1.0"], ["-H", "Expect: 100-continue"]],
    ids=["", "http2", "http1.0", "expects"],
)
def test_curl(server: Server, options: list[str]) -> None:
    answers = []
    for url, body in asked(server):
        command = ["curl", "-sS", "-w", "\\n%{http_code}", *options, "-d", body, url]
        header = ["-H", "Content-Type: application/json"]
        done = subprocess.run([*command, *header], capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        text, _, status = done.stdout.rpartition("\n")
        answers.append((int(status), text))
    check(answers)


@needs("curl")
def test_curl_sends_a_long_body(server: Server) -> None:
    """It then waits for 100 before it does."""
    rows = json.dumps({"dataframe_split": FRAME.sample(5000, replace=True).to_dict("split")})
    command = ["curl", "-sS", "--http2", "-d", "@-", server.url("/invocations")]
    header = ["-H", "Content-Type: application/json"]
    done = subprocess.run(
        [*command, *header], input=rows, capture_output=True, text=True, timeout=SECONDS
    )
    assert len(json.loads(done.stdout)["predictions"]) == 5000, done.stdout[:200]
