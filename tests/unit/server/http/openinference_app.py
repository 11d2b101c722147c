"""The Open Inference Protocol's paths on a real HTTP server, for clients and fuzzers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from mlflow_model_server.http.openinference import handle
from mlflow_model_server.inference.served import Served
from tests.unit.server.process import wait_until


def application(served: Served) -> Any:
    """An ASGI application of nothing but these paths."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        answer = await handle(scope["method"], scope["path"], scope["headers"], body, served)
        length = (b"content-length", str(len(answer.body)).encode())
        headers = [*answer.headers, length]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    return app


@contextmanager
def serving(served: Served) -> Iterator[str]:
    """Its host and port, while it runs in a thread."""
    config = uvicorn.Config(application(served), port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the server has started")
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
