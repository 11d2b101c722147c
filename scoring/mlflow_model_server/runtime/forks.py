"""Processes that the model's code forks end as it expects of processes.

They would have the server's handlers of signals, which let it finish its requests: a pool of
processes ends its own by SIGTERM, and would wait for them for ever.
"""

from __future__ import annotations

import os
import signal
import threading

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_in_thread = threading.local()


def reset_signals() -> None:
    """Has all processes that this one forks from now on begin with the default handlers."""
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_reset)


def _block() -> None:
    """A signal that comes before the handlers are reset waits until they are."""
    _in_thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _in_thread.mask)


def _reset() -> None:
    # Python 3.12 does this itself: else a signal of the child would wake up the parent's loop.
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _unblock()
