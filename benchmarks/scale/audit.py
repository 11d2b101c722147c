"""What the API server's audit log says of the operator."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.scale.plane import USER

WRITES = {"create", "update", "patch", "delete", "deletecollection"}
READS = {"get", "list"}
CHILDREN = {"deployments", "services", "horizontalpodautoscalers"}


@dataclass(frozen=True)
class Request:
    """One answered request of the operator."""

    verb: str
    resource: str  # with its subresource
    name: str
    code: int
    begun: float  # Unix time
    ended: float


def requests(log: Path, since: float = 0.0, until: float = float("inf")) -> list[Request]:
    """The operator's requests that ended in this time."""
    if not log.exists():
        return []
    return [one for one in _parse(log) if since <= one.ended < until]


def writes(all_requests: Iterable[Request]) -> list[Request]:
    """Those that may change something."""
    return [one for one in all_requests if one.verb in WRITES]


def reads(all_requests: Iterable[Request]) -> list[Request]:
    """Those that only ask, but watches."""
    return [one for one in all_requests if one.verb in READS]


def by_kind(all_requests: Iterable[Request]) -> dict[str, int]:
    """How many there are of each verb and resource."""
    counts = Counter(f"{one.verb} {one.resource} {one.code}" for one in all_requests)
    return dict(counts.most_common())


def children_created(all_requests: Iterable[Request]) -> list[float]:
    """When each child came to exist, in order."""
    return sorted(
        one.ended
        for one in all_requests
        if one.verb == "patch" and one.code == 201 and one.resource in CHILDREN
    )


def _parse(log: Path) -> Iterator[Request]:
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                return  # being written
            event = json.loads(line)
            if event["user"]["username"] == USER and event["verb"] != "watch":
                yield _request(event)


def _request(event: dict[str, object]) -> Request:
    ref = event.get("objectRef") or {}
    status = event.get("responseStatus") or {}
    assert isinstance(ref, dict) and isinstance(status, dict)
    subresource = f"/{ref['subresource']}" if ref.get("subresource") else ""
    return Request(
        str(event["verb"]),
        f"{ref.get('resource', '-')}{subresource}",
        str(ref.get("name", "")),
        int(status.get("code", 0)),
        _seconds(event["requestReceivedTimestamp"]),
        _seconds(event["stageTimestamp"]),
    )


def _seconds(text: object) -> float:
    return datetime.fromisoformat(str(text)).timestamp()
