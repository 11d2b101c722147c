"""The floor: the HTTP server that ours runs on, which sends back what it got, and nothing else."""

from __future__ import annotations

import argparse
from typing import Any

import uvicorn


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers every request with its own body."""
    if scope["type"] != "http":
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serves on 127.0.0.1 until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring.echo")
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(
        echo,
        host="127.0.0.1",
        port=parser.parse_args().port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
