"""Connections to MLflow and storages that are given up when the other side is gone.

MLflow has a single timeout for all of a request, and it has to be long: a tracking server that
proxies a storage fetches the whole of a file before it answers with its first byte.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

from mlflow.utils import request_utils
from requests import PreparedRequest, Response
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

CONNECT_TIMEOUT = 15.0  # seconds
# Seconds without a byte within a body, and before the first byte of an answer that is no file.
SILENCE_TIMEOUT = 15.0
# Seconds for which the other side's kernel may leave bytes, or probes, without an acknowledgment,
# while a server that is merely slow has its kernel answer them.
UNACKNOWLEDGED_TIMEOUT = 15
_KEEPALIVE = {"IDLE": 5, "INTERVAL": 5, "COUNT": 2}  # seconds, seconds, probes: 15 s in all


def give_up_dead_connections() -> None:
    """Makes MLflow's client of this process give up dead connections; MLflow's tries go on.

    The first byte of a file may take MLFLOW_HTTP_REQUEST_TIMEOUT, and if that is set, those of
    other answers too.
    """
    for name, value in _KEEPALIVE.items():
        os.environ.setdefault(f"MLFLOW_HTTP_TCP_KEEPALIVE_{name}", str(value))
    request_utils.TCPKeepAliveHTTPAdapter = _Adapter


class _Connection(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        return _with_bounded_silence(self.sock, super().getresponse())


class _TlsConnection(HTTPSConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        return _with_bounded_silence(self.sock, super().getresponse())


def _with_bounded_silence(sock: socket.socket, response: HTTPResponse) -> HTTPResponse:
    """`response`, whose head has come: each read of its body has a timeout of its own."""
    sock.settimeout(SILENCE_TIMEOUT)
    return response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class _Adapter(request_utils.TCPKeepAliveHTTPAdapter):  # type: ignore[misc]
    """MLflow's adapter for requests, with the timeouts of this module."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, socket_options=_socket_options(), **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, socket_options=_socket_options(), **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        if timeout is None or isinstance(timeout, int | float):
            timeout = (CONNECT_TIMEOUT, _first_byte_timeout(timeout, is_file=stream))
        response: Response = super().send(request, stream, timeout, verify, cert, proxies)
        return response


def _first_byte_timeout(timeout: float | None, *, is_file: bool) -> float | None:
    if is_file or "MLFLOW_HTTP_REQUEST_TIMEOUT" in os.environ:
        return timeout
    return min(timeout or SILENCE_TIMEOUT, SILENCE_TIMEOUT)


def _socket_options() -> list[tuple[int, int, int]]:
    options: list[tuple[int, int, int]] = request_utils._build_socket_options()
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * UNACKNOWLEDGED_TIMEOUT))
    return options
