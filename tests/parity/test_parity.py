"""Our server answers as MLflow's does: same models, same requests, answers equal by meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tests.parity import bodies
from tests.parity.asgi import Request
from tests.parity.conftest import Served
from tests.parity.models import MODELS

# A word of a failing test about each difference; the rest would bury it.
SHOWN = 40


def all_alike(served: Served, requests: Iterable[Request]) -> int:
    """Asks both servers everything; fails with all differences. Returns how many were asked."""
    asked, found = 0, []
    for request in requests:
        asked += 1
        if different := served.unexplained(request):
            found.append(f"{request.label}: {'; '.join(different)}")
    if found:
        told = "\n  ".join(found[:SHOWN])
        pytest.fail(
            f"{served.model.name}: {len(found)} of {asked} answers differ:\n  {told}",
            pytrace=False,
        )
    return asked


@pytest.mark.parametrize("kind", bodies.OF_MODELS)
@pytest.mark.parametrize("name", MODELS)
def test_requests_of_a_kind(served: Callable[[str], Served], name: str, kind: str) -> None:
    one = served(name)
    all_alike(one, bodies.OF_MODELS[kind](one.sample))


@pytest.mark.parametrize("name", ["linear", "chat"])
def test_content_types_methods_and_paths(served: Callable[[str], Served], name: str) -> None:
    one = served(name)
    all_alike(one, bodies.http(one.sample))
