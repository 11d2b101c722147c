"""Our server answers as MLflow's does: same models, same requests, answers equal by meaning.

`make test` asks each model a part of the requests, `make parity` (PARITY=full) all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.parity import bodies, pyfuncs, strategies
from tests.parity.asgi import Request
from tests.parity.conftest import Served
from tests.parity.deviations import DEVIATIONS, Deviation
from tests.parity.models import MODELS, save_pyfunc
from tests.parity.servers import serving

FULL = os.environ.get("PARITY") == "full"
# Of the requests that most models answer alike, `make test` asks each model one in so many,
# another one of each model, so that none is left out.
ONE_IN = 1 if FULL else 12
EXAMPLES = 200 if FULL else 8
AT_ONCE = 200 if FULL else 30
# More differences than that would bury the others.
SHOWN = 40


def part_of(name: str, requests: Iterable[Request]) -> list[Request]:
    """What this run asks this model."""
    return list(islice(requests, list(MODELS).index(name) % ONE_IN, None, ONE_IN))


def all_alike(served: Served, requests: list[Request]) -> None:
    """Asks both servers everything; fails with all differences."""
    fail_if_any(served, requests, [served.unexplained(request) for request in requests])


def fail_if_any(served: Served, requests: list[Request], found: list[list[str]]) -> None:
    """Fails with what was found, if anything was."""
    told = [
        f"{request.label}: {'; '.join(different)}"
        for request, different in zip(requests, found, strict=True)
        if different
    ]
    if told:
        first = "\n  ".join(told[:SHOWN])
        pytest.fail(
            f"{served.model.name}: {len(told)} of {len(requests)} answers differ:\n  {first}",
            pytrace=False,
        )


@pytest.mark.parametrize("name", MODELS)
def test_good_requests(served: Callable[[str], Served], name: str) -> None:
    one = served(name)
    all_alike(one, list(bodies.good(one.sample)))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", bodies.ODD)
def test_odd_requests(served: Callable[[str], Served], name: str, kind: str) -> None:
    one = served(name)
    all_alike(one, part_of(name, bodies.ODD[kind](one.sample)))


@pytest.mark.parametrize("name", ["linear", "chat"])
def test_content_types_methods_and_paths(served: Callable[[str], Served], name: str) -> None:
    one = served(name)
    all_alike(one, list(bodies.http(one.sample)))


@pytest.mark.parametrize("name", MODELS)
def test_requests_that_hypothesis_makes(served: Callable[[str], Served], name: str) -> None:
    one = served(name)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=not FULL,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.data())
    def alike(data: st.DataObject) -> None:
        request = data.draw(strategies.requests(one.sample))
        assert not one.unexplained(request), one.unexplained(request)

    alike()


@pytest.mark.parametrize("name", MODELS)
def test_requests_in_flight_together(served: Callable[[str], Served], name: str) -> None:
    """Each gets its own answer, whatever the others of its batch are."""
    one = served(name)
    good = list(bodies.good(one.sample))
    odd = [request for make in bodies.ODD.values() for request in make(one.sample)]
    requests = [*good, *odd[:: max(1, len(odd) // AT_ONCE)]]
    theirs = [one.pair.theirs.answer(request) for request in requests]
    ours = one.pair.ours.answers(requests)
    fail_if_any(one, requests, list(map(one.judged, requests, theirs, ours)))


@pytest.mark.parametrize(
    "name", ["linear", "forest-with-names-as-labels", "tensor", "onnx-tensor", "onnx-named-tensor"]
)
@pytest.mark.parametrize("batching", ["on", "off"])
def test_batching_as_the_user_says(tmp_path: Path, name: str, batching: str) -> None:
    """On for models that are not known to be row-independent, off for those that are."""
    sample = MODELS[name].save(tmp_path / "artifact")
    requests = [*bodies.good(sample), *bodies.good(sample)]
    with serving(tmp_path, BATCHING=batching) as pair:
        one = Served(MODELS[name], sample, pair)
        theirs = [pair.theirs.answer(request) for request in requests]
        ours = pair.ours.answers(requests)
    fail_if_any(one, requests, list(map(one.judged, requests, theirs, ours)))


@pytest.mark.parametrize(
    "deviation", [d for d in DEVIATIONS if d.example[0] in MODELS], ids=lambda d: d.name
)
def test_each_deviation_is_used(served: Callable[[str], Served], deviation: Deviation) -> None:
    name, request = deviation.example
    theirs, ours = served(name).pair.answer(request)
    assert deviation.concerns(request, theirs), f"MLflow has mended it: {theirs}"
    assert deviation.is_right(theirs, ours), f"ours is not as it should be: {ours}"


def test_a_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (deviation,) = (d for d in DEVIATIONS if d.example[0] not in MODELS)
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("PARITY_GO", str(tmp_path / "go"))
    save_pyfunc(tmp_path / "artifact", pyfuncs.Waits())
    with serving(tmp_path) as pair:
        try:
            theirs, ours = pair.answer(deviation.example[1])
        finally:
            (tmp_path / "go").touch()
    assert deviation.concerns(deviation.example[1], theirs), theirs
    assert deviation.is_right(theirs, ours), ours
