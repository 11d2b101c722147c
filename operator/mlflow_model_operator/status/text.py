"""Messages of pods, the scheduler and the kubelet, reduced to what users need.

They come from outside: all are bounded and on one line, as `single_line` makes them.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from mlflow_model_operator.api.text import single_line

_COUNTED = re.compile(r"^\d+ ")
# "read udp 10.244.0.5:43210->10.96.0.10:53": another port with each try.
_SOURCE_PORT = re.compile(r"(?<=\d):\d+(?=->)")


class TerminationMessage(NamedTuple):
    """The termination message that one of our containers has left."""

    reason: str
    message: str


def last_line(text: object) -> str:
    """The last line of `text` that is not empty, as single_line gives it."""
    lines = text.splitlines() if isinstance(text, str) else []
    return next((line for line in map(single_line, reversed(lines)) if line), "")


def termination_message(text: object) -> TerminationMessage | None:
    """Reason and message of `{"reason": …, "message": …}`; None where `text` is not of that form.

    Never raises, whatever the pod has written.
    """
    if not isinstance(text, str):
        return None
    try:
        report = json.loads(text)
    except (ValueError, RecursionError):  # the latter for brackets in brackets in brackets …
        return None
    if not isinstance(report, dict):
        return None
    reason, message = report.get("reason"), report.get("message")
    if not isinstance(reason, str) or not isinstance(message, str):
        return None
    return TerminationMessage(single_line(reason), single_line(message))


def scheduler_message(text: object) -> str:
    """Why no node will do, without the counts of nodes, which change with the cluster.

    >>> scheduler_message("0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated "
    ...     "taint(s). preemption: 0/3 nodes are available: 3 Preemption is not helpful")
    'Insufficient cpu, node(s) had untolerated taint(s)'
    """
    line = single_line(text)
    why = line.split(" nodes are available:", 1)[-1].split("preemption:", 1)[0].strip(" .")
    return ", ".join(sorted({_COUNTED.sub("", part) for part in why.split(", ")})) or line


def pull_message(text: object) -> str:
    """Why an image can't be pulled: the same words while it is tried and between the tries.

    >>> pull_message('Back-off pulling image "x:1": ErrImagePull: not found')
    'not found'
    """
    line = re.sub(r'^Back-off pulling image "[^"]*"(: \w+: )?', "", single_line(text))
    return _SOURCE_PORT.sub("", re.sub(r"^rpc error: code = \w+ desc = ", "", line))


def without_pod_name(text: object) -> str:
    """What admission says of a pod, without the pod's made-up name.

    >>> without_pod_name('pods "wine-5grvzzsnnz-664cc6f7d8-2kqtp" is forbidden: exceeded quota: a')
    'exceeded quota: a'
    """
    return re.sub(r'^pods "[^"]*" is forbidden: ', "", single_line(text))
