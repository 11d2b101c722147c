"""python -m mlflow_model_server.shadow: see sender.py. Its parent is in child.py."""

from __future__ import annotations

import json
import os
import sys

_NICENESS = 19


def _main() -> None:
    os.nice(_NICENESS)  # before all else: what follows takes a moment
    import signal
    import socket

    from mlflow_model_server import bounded_logging
    from mlflow_model_server.metrics.shadow_memory import part_in
    from mlflow_model_server.shadow import sender
    from mlflow_model_server.shadow.target import Target

    # The parent's thread that started this process has all of them blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    bounded_logging.configure()
    bounded_logging.hide_exception_messages(True)
    given = json.loads(sys.argv[1])
    options = sender.Options(
        Target(**given["target"]), given["sender"], given["cpu_share"], given["max_bytes"]
    )
    copies = socket.socket(fileno=given["copies"])
    sender.run(copies, part_in(given["counts"], given["slot"]), options)


_main()
