"""The numbers as Prometheus' text format (version 0.0.4). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_model_server.drift.bins import Bins, psi
from mlflow_model_server.metrics import slots
from mlflow_model_server.metrics.slots import PHASES, ROUTES, SECONDS, SIZES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "mlflow_model_server_"
# Below, the index says more about chance than about drift.
LEAST_ROWS = 200

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Watched:
    """A feature or an output: its bins, what was counted since the start, and of late."""

    bins: Bins
    total: Sequence[float]
    recent: Sequence[float]


@dataclass(frozen=True)
class Process:
    """The server's processes together. None: not to be had here."""

    cpu_seconds: float
    start_time: float  # Unix time
    resident_bytes: float | None = None
    open_fds: int | None = None
    max_fds: int | None = None


@dataclass(frozen=True)
class Onnx:
    """Whether the model's conversion predicts, and if not, why."""

    predicts: bool
    reason: str = ""


@dataclass(frozen=True)
class Snapshot:
    """All that a scrape tells."""

    numbers: Sequence[float]  # as in `slots`, summed over the workers
    labels: Labels  # of all metrics: model, version, revision
    workers: int
    process: Process
    info: Labels = field(default_factory=dict)
    model_age: float | None = None  # seconds
    environment_as_pinned: bool | None = None
    onnx: Onnx | None = None  # None: not asked for
    features: Sequence[Watched] = ()
    predictions: Sequence[Watched] = ()
    baseline_source: str | None = None


def text(shot: Snapshot) -> str:
    """The body of an answer to Prometheus."""
    writer = _Writer(shot.labels)
    _tell_requests(writer, shot.numbers)
    _tell_batches(writer, shot.numbers)
    _tell_state(writer, shot)
    _tell_drift(writer, shot)
    _tell_process(writer, shot.process)
    return writer.text()


def _tell_requests(writer: _Writer, numbers: Sequence[float]) -> None:
    used: list[tuple[int, str]] = []
    writer.family("requests_total", "counter", "Requests answered, by route and HTTP status.")
    for number, route in enumerate(ROUTES):
        start = slots.requests_at(number)
        counts = numbers[start : start + len(slots.CODES)]
        if any(counts):
            used.append((number, route))
        for code, count in zip(slots.CODES, counts, strict=True):
            if count:
                writer.sample("requests_total", count, route=route, code=str(code))
    writer.family(
        "request_duration_seconds", "histogram", "From a request's head to its answer's end."
    )
    for number, route in used:
        writer.histogram(
            "request_duration_seconds", numbers, slots.duration_at(number), SECONDS, route=route
        )
    writer.family(
        "phase_duration_seconds", "histogram", "Where the time of a prediction request goes."
    )
    for number, phase in enumerate(PHASES):
        writer.histogram(
            "phase_duration_seconds", numbers, slots.phase_at(number), SECONDS, phase=phase
        )


def _tell_batches(writer: _Writer, numbers: Sequence[float]) -> None:
    writer.family("batch_requests", "histogram", "Requests predicted in one call of the model.")
    writer.histogram("batch_requests", numbers, slots.BATCH_REQUESTS, SIZES)
    writer.family("batch_rows", "histogram", "Rows predicted in one call of the model.")
    writer.histogram("batch_rows", numbers, slots.BATCH_ROWS, SIZES)


def _tell_state(writer: _Writer, shot: Snapshot) -> None:
    numbers = shot.numbers
    writer.single(
        "requests_in_flight",
        "gauge",
        "Requests that have begun and are not answered.",
        numbers[slots.IN_FLIGHT],
    )
    writer.single("workers", "gauge", "Processes that serve.", shot.workers)
    writer.single(
        "request_log_dropped_total",
        "counter",
        "Requests that the request log could not take.",
        numbers[slots.REQUEST_LOG_DROPPED],
    )
    writer.family("info", "gauge", "Always 1; the labels tell what runs.")
    writer.sample("info", 1, **shot.info)
    if shot.model_age is not None:
        writer.single(
            "model_age_seconds",
            "gauge",
            "Time since the model version was made.",
            shot.model_age,
        )
    if shot.environment_as_pinned is not None:
        writer.single(
            "environment_as_pinned",
            "gauge",
            "1 if Python and all packages are as the model's files name them, else 0.",
            int(shot.environment_as_pinned),
        )
    if shot.onnx is not None:
        writer.family(
            "model_converted_to_onnx", "gauge", "1 if ONNX Runtime predicts, else 0 and why not."
        )
        writer.sample("model_converted_to_onnx", shot.onnx.predicts, reason=shot.onnx.reason)


def _tell_drift(writer: _Writer, shot: Snapshot) -> None:
    writer.single(
        "drift_dropped_rows_total",
        "counter",
        "Rows not counted for the drift, because they came too fast.",
        shot.numbers[slots.DRIFT_ROWS_DROPPED],
    )
    if shot.baseline_source is None:
        return
    writer.family("drift_baseline", "gauge", "Always 1; where the baseline is from.")
    writer.sample("drift_baseline", 1, source=shot.baseline_source)
    for what, label, watched in (
        ("feature", "feature", shot.features),
        ("prediction", "output", shot.predictions),
    ):
        _tell_bins(writer, what, label, watched)


def _tell_bins(writer: _Writer, what: str, label: str, watched: Sequence[Watched]) -> None:
    writer.family(f"{what}_values_total", "counter", f"Values of each {label}, by bin.")
    for one in watched:
        for name, count in zip(one.bins.labels(), one.total, strict=True):
            writer.sample(f"{what}_values_total", count, **{label: one.bins.name, "bin": name})
    writer.family(
        f"{what}_baseline_ratio", "gauge", f"The share of each bin in the baseline of a {label}."
    )
    for one in watched:
        for name, ratio in zip(one.bins.labels(), one.bins.ratios(), strict=True):
            writer.sample(f"{what}_baseline_ratio", ratio, **{label: one.bins.name, "bin": name})
    writer.family(
        f"{what}_psi",
        "gauge",
        f"Population stability index of a {label} against the baseline, over the last hour.",
    )
    for one in watched:
        if sum(one.recent) >= LEAST_ROWS:
            writer.sample(f"{what}_psi", psi(one.bins.counts, one.recent), **{label: one.bins.name})


def _tell_process(writer: _Writer, process: Process) -> None:
    for name, kind, meaning, value in (
        ("cpu_seconds_total", "counter", "CPU time of all processes.", process.cpu_seconds),
        (
            "start_time_seconds",
            "gauge",
            "Start of the first process, Unix time.",
            process.start_time,
        ),
        ("resident_memory_bytes", "gauge", "Memory of all processes.", process.resident_bytes),
        ("open_fds", "gauge", "Open files of all processes.", process.open_fds),
        ("max_fds", "gauge", "Open files that one process may have.", process.max_fds),
    ):
        if value is not None:
            writer.single(name, kind, meaning, value, prefix="process_")


class _Writer:
    def __init__(self, labels: Labels) -> None:
        self._common = labels
        self._lines: list[str] = []

    def family(self, name: str, kind: str, meaning: str, prefix: str = PREFIX) -> None:
        self._lines.append(f"# HELP {prefix}{name} {meaning}")
        self._lines.append(f"# TYPE {prefix}{name} {kind}")

    def sample(self, name: str, value: float, prefix: str = PREFIX, **labels: str) -> None:
        told = ",".join(
            f'{label}="{_escaped(text)}"' for label, text in {**self._common, **labels}.items()
        )
        self._lines.append(f"{prefix}{name}{{{told}}} {_number(value)}")

    def single(
        self, name: str, kind: str, meaning: str, value: float, prefix: str = PREFIX
    ) -> None:
        self.family(name, kind, meaning, prefix)
        self.sample(name, value, prefix)

    def histogram(
        self,
        name: str,
        numbers: Sequence[float],
        start: int,
        bounds: Sequence[float],
        **labels: str,
    ) -> None:
        count = 0.0
        ends = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        for end, more in zip(ends, numbers[start : start + len(ends)], strict=True):
            count += more
            self.sample(f"{name}_bucket", count, **labels, le=end)
        self.sample(f"{name}_sum", numbers[start + len(ends)], **labels)
        self.sample(f"{name}_count", count, **labels)

    def text(self) -> str:
        return "\n".join([*self._lines, ""])


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
