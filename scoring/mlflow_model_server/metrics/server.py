"""The metrics port, which a thread of the first process listens on."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

from mlflow_model_server.runtime.listener import bind

if TYPE_CHECKING:
    from mlflow_model_server.metrics.shared_memory import SharedMemory
    from mlflow_model_server.settings import Settings

log = logging.getLogger(__name__)


def start_metrics_server(settings: Settings, shared: SharedMemory) -> None:
    """Serves `/metrics` on `settings.metrics_port` until the process ends; 0: not at all.

    Call it in the parent when there are several workers, after the first were forked, else in the
    only process. Raises OSError if the port is taken.
    """
    if settings.metrics_port == 0:
        return
    listener = bind(settings.metrics_port)
    listener.listen()
    # A worker that is forked later must not hold the port.
    os.register_at_fork(after_in_child=listener.close)
    threading.Thread(
        target=_serve, args=(listener, settings, shared, time.time()), name="metrics", daemon=True
    ).start()
    log.info("metrics on port %d", settings.metrics_port)


def _serve(
    listener: socket.socket, settings: Settings, shared: SharedMemory, started: float
) -> None:
    # Signals are for the main thread: only there Python's handlers run, and system calls end.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    select.select([listener], [], [])
    # Imported with the first scrape: until then the model loads, which takes long enough.
    from mlflow_model_server.metrics import handler

    handler.serve(listener, settings, shared, started)
