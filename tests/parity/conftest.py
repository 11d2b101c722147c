"""Models are saved once and served once for all tests of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.parity.asgi import Answer, Request
from tests.parity.compare import RELATIVE, RELATIVE_SINGLE
from tests.parity.deviations import unexplained
from tests.parity.models import MODELS, Model, Sample
from tests.parity.servers import Pair, serving


@dataclass(frozen=True)
class Served:
    """A model that both servers have loaded."""

    model: Model
    sample: Sample
    pair: Pair
    tolerance: float | None = None  # that floats may differ by; None: by the model's precision

    def unexplained(self, request: Request) -> list[str]:
        """How the two answers differ without a reason."""
        return self.judged(request, *self.pair.answer(request))

    def judged(self, request: Request, theirs: Answer, ours: Answer) -> list[str]:
        """How these two answers differ without a reason."""
        usual = RELATIVE_SINGLE if self.model.single else RELATIVE
        return unexplained(request, theirs, ours, self.tolerance or usual)


@pytest.fixture(scope="session", autouse=True)
def silence() -> Iterator[None]:
    """Thousands of bad requests are logged, with bytes that a report can't hold."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Served]]:
    """Serves a model of MODELS by its name, with both servers, until the tests end."""
    known: dict[str, Served] = {}
    with ExitStack() as stack:

        def serve(name: str) -> Served:
            if name not in known:
                folder = tmp_path_factory.mktemp(name)
                sample = MODELS[name].save(folder / "artifact")
                known[name] = Served(MODELS[name], sample, stack.enter_context(serving(folder)))
            return known[name]

        yield serve


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes, one serves a model for all of its tests."""
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            item.add_marker(pytest.mark.xdist_group(str(item.callspec.params.get("name"))))
