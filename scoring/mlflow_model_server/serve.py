"""Serves the prepared model until SIGTERM, then finishes what is in flight.

uvicorn runs the application directly, without nginx before it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from mlflow_model_server import bounded_logging
from mlflow_model_server.metrics.server import start_metrics_server
from mlflow_model_server.metrics.shared_memory import SharedMemory
from mlflow_model_server.model import traces
from mlflow_model_server.runtime import (
    ca_certificates,
    cgroup,
    forks,
    pickle_switch,
    site_packages,
    workers,
)
from mlflow_model_server.runtime.listener import bind
from mlflow_model_server.runtime.termination import StartupError, write_termination_message
from mlflow_model_server.settings import Settings

if TYPE_CHECKING:
    import grpc
    import uvicorn

    from mlflow_model_server.http.app import Application
    from mlflow_model_server.inference.service import InferenceService

log = logging.getLogger(__name__)

# Longer than the hour for which Envoy keeps an idle connection: if the server closes it first, it
# may do so just when a request comes, which is then lost.
KEEP_ALIVE_SECONDS = 3660
_SECONDS_TO_EXIT = 5  # beyond the time for requests in flight
_SECONDS_TO_SAY_SO = 0.5


def serve(settings: Settings) -> int:
    """Serves until SIGTERM, with `settings.workers` processes; returns the exit code.

    Raises StartupError with InvalidModel where nothing was prepared, with PolicyDenied where the
    model's formats are not among those that are allowed, with DependencyInstallFailed
    where the model's packages are too old for the server. A process that can't load the model
    leaves the word itself.
    """
    bounded_logging.hide_exception_messages(not settings.request_log_bodies)
    # Else a crash in a library's native code would leave nothing in the log. One thread: agents
    # have hundreds.
    faulthandler.enable(all_threads=False)
    if not (settings.artifact / "MLmodel").is_file():
        raise StartupError(
            "InvalidModel", f"There is no model in {settings.artifact}: prepare it first"
        )
    pickle_switch.apply(settings)
    if settings.onnx:
        site_packages.use_packages(settings.onnx_packages)
    site_packages.use_packages(settings.packages)
    ca_certificates.use_trusted(settings)
    # Imported here: it must see the model's packages.
    from mlflow_model_server.runtime import server_packages

    server_packages.check(settings)
    cgroup.limit_threads(settings.workers)
    # It listens once uvicorn starts: until then connections are refused, as probes expect it.
    listener = bind(settings.port)
    shared = SharedMemory(settings.workers, shadow=settings.shadow_file is not None)
    if settings.workers == 1:
        start_metrics_server(settings, shared)
        _work(settings, listener, shared, 0, on_ready=lambda: None)
    return workers.run(
        settings.workers,
        lambda slot, on_ready: _work(settings, listener, shared, slot, on_ready),
        on_started=lambda: start_metrics_server(settings, shared),
        # Else connections would still be taken that nobody answers.
        on_stop=listener.close,
        stop_timeout=settings.shutdown_timeout + 5,
    )


def _work(
    settings: Settings,
    listener: socket.socket,
    shared: SharedMemory,
    slot: int,
    on_ready: Callable[[], None],
) -> NoReturn:
    """The same, and leaves the word for the operator where the model is not to be served."""
    try:
        _serve_here(settings, listener, shared, slot, on_ready)
    except StartupError as failure:
        write_termination_message(failure, settings.termination_log)
        logging.shutdown()
        sys.stdout.flush()
        # At once: the ordinary way would wait for a prediction of the input example without end.
        os._exit(1)


def _serve_here(
    settings: Settings,
    listener: socket.socket,
    shared: SharedMemory,
    slot: int,
    on_ready: Callable[[], None],
) -> NoReturn:
    """Loads the model and serves it; ends the process."""
    # Loading makes many objects that stay: collecting garbage meanwhile, or among them later, only
    # costs time.
    gc.disable()
    # Imported here: what is installed for the model goes before the image's own packages.
    from mlflow_model_server import bootstrap

    app = bootstrap.load(settings, shared, slot)
    gc.freeze()
    gc.enable()

    server = _server(app, settings, on_ready)
    # uvicorn handles the signal while it serves, and afterwards sends it again to whoever handled
    # it before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    forks.reset_signals()
    loop = _loop_factory()()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_until_done(server, listener))
    raise AssertionError("unreachable")


def _server(app: Application, settings: Settings, on_ready: Callable[[], None]) -> uvicorn.Server:
    import uvicorn

    from mlflow_model_server.http import connections

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            self.grpc = await _start_grpc(app.service, settings)
            await super().startup(sockets=sockets)
            self.watching = [
                asyncio.create_task(connections.supervise(self.server_state.connections)),
                asyncio.create_task(_end_when_stuck(app.service, settings)),
            ]
            log.info("serving on port %d", settings.port)
            on_ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.service.close()
            stopping = self.grpc.stop(settings.shutdown_timeout) if self.grpc else asyncio.sleep(0)
            await asyncio.gather(super().shutdown(sockets=sockets), stopping)
            await _wait_briefly(self.server_state.tasks)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # Even if a prediction lets no other code of this process run any more.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(settings.shutdown_timeout + _SECONDS_TO_EXIT)
            super().handle_exit(sig, frame)

    return Server(_config(app, settings))


def _config(app: Application, settings: Settings) -> uvicorn.Config:
    import uvicorn

    from mlflow_model_server.http.protocol import http_protocol

    return uvicorn.Config(
        app,
        http=http_protocol(app.service),
        ws="none",
        access_log=False,
        log_config=None,
        lifespan="off",
        server_header=False,
        # Clients' addresses are those of their connections: headers can be made up.
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )


async def _end_when_stuck(service: InferenceService, settings: Settings) -> None:
    """Of several workers the one that can't predict any more is replaced.

    A probe would reach it only now and then, and restart all of them. A single one ends where
    nothing is left to wait for: Kubernetes restarts the container.
    """
    while not service.is_finished and (service.is_live or settings.workers == 1):
        await asyncio.sleep(1)
    log.error("this worker can't predict any more: starting another worker")
    os.kill(os.getpid(), signal.SIGTERM)


async def _start_grpc(service: InferenceService, settings: Settings) -> grpc.aio.Server | None:
    if not settings.grpc_port:
        return None
    # Imported here: it takes time and memory, and few need it.
    from mlflow_model_server.grpc import server

    return await server.start(service, settings)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _wait_briefly(tasks: Collection[asyncio.Task[None]]) -> None:
    """Tasks that were cancelled may still say so to their clients."""
    if tasks:
        await asyncio.wait(tasks, timeout=_SECONDS_TO_SAY_SO)


async def _until_done(server: uvicorn.Server, listener: socket.socket) -> NoReturn:
    await server.serve(sockets=[listener])
    traces.flush()
    # At once: leaving the ordinary way would wait for predictions that were cancelled in vain.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0 if server.started else 1)
