"""The numbers as Prometheus' text format (version 0.0.4). Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_model_server.drift.bins import AGES, Bins, psi
from mlflow_model_server.metrics import shadow_memory, slots
from mlflow_model_server.metrics.slots import PHASES, ROUTES, SECONDS, SIZES, STREAM_SECONDS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "mlflow_model_server_"
# With fewer rows, the index shows chance rather than drift.
MIN_ROWS = 200

Labels = Mapping[str, str]


@dataclass(frozen=True)
class DriftSeries:
    """The bins of a feature or an output, and their counts since the start and of the last hour."""

    bins: Bins
    total: Sequence[float]
    recent: Sequence[float]


@dataclass(frozen=True)
class Process:
    """The server's processes together. None: not available here."""

    cpu_seconds: float
    start_time: float  # Unix time
    resident_bytes: float | None = None
    open_fds: int | None = None
    max_fds: int | None = None


@dataclass(frozen=True)
class Onnx:
    """Whether the converted model predicts, and if not, why."""

    predicts: bool
    reason: str = ""


@dataclass(frozen=True)
class ShadowSeries:
    """What the workers have counted of one shadow; `is_in_effect`: all of them have it."""

    revision: str
    version: str
    numbers: Sequence[float]  # as in `shadow_memory`, summed over the workers
    is_in_effect: bool


@dataclass(frozen=True)
class Shadows:
    """The shadows of all workers: one, except for the moment in which it changes."""

    is_valid: bool  # the file, where there is one
    series: Sequence[ShadowSeries] = ()


@dataclass(frozen=True)
class Snapshot:
    """All values of one scrape."""

    numbers: Sequence[float]  # as in `slots`, summed over the workers
    labels: Labels  # of all metrics: model, version, revision
    workers: int
    process: Process
    info: Labels = field(default_factory=dict)
    model_age: float | None = None  # seconds
    environment_matches: bool | None = None
    onnx: Onnx | None = None  # None: not configured
    measures_feature_ages: bool = False
    features: Sequence[DriftSeries] = ()
    predictions: Sequence[DriftSeries] = ()
    baseline_source: str | None = None
    shadows: Shadows | None = None  # None: not configured


def render(snapshot: Snapshot) -> str:
    """The body of an answer to Prometheus."""
    writer = _Writer(snapshot.labels)
    _write_requests(writer, snapshot.numbers)
    _write_batches(writer, snapshot.numbers)
    _write_streams(writer, snapshot.numbers)
    _write_state(writer, snapshot)
    _write_model(writer, snapshot)
    _write_drift(writer, snapshot)
    if snapshot.measures_feature_ages:
        _write_feature_ages(writer, snapshot.numbers)
    if snapshot.shadows is not None:
        _write_shadows(writer, snapshot.shadows)
    _write_process(writer, snapshot.process)
    return writer.text()


def _write_requests(writer: _Writer, numbers: Sequence[float]) -> None:
    used: list[tuple[int, str]] = []
    writer.family("requests_total", "counter", "Requests answered, by route and HTTP status code.")
    for number, route in enumerate(ROUTES):
        start = slots.requests_at(number)
        counts = numbers[start : start + len(slots.CODES)]
        if any(counts):
            used.append((number, route))
        for code, count in zip(slots.CODES, counts, strict=True):
            if count:
                writer.sample("requests_total", count, route=route, code=str(code))
    writer.family(
        "request_duration_seconds",
        "histogram",
        "Time from the head of a request to the end of its response.",
    )
    for number, route in used:
        writer.histogram(
            "request_duration_seconds", numbers, slots.duration_at(number), SECONDS, route=route
        )
    writer.family(
        "phase_duration_seconds", "histogram", "Time spent in each phase of a prediction request."
    )
    for number, phase in enumerate(PHASES):
        writer.histogram(
            "phase_duration_seconds", numbers, slots.phase_at(number), SECONDS, phase=phase
        )


def _write_batches(writer: _Writer, numbers: Sequence[float]) -> None:
    writer.family("batch_requests", "histogram", "Requests per call of the model.")
    writer.histogram("batch_requests", numbers, slots.BATCH_REQUESTS, SIZES)
    writer.family("batch_rows", "histogram", "Rows per call of the model.")
    writer.histogram("batch_rows", numbers, slots.BATCH_ROWS, SIZES)


def _write_streams(writer: _Writer, numbers: Sequence[float]) -> None:
    writer.single(
        "stream_events_total",
        "counter",
        "Events that models have yielded in streams.",
        numbers[slots.STREAM_EVENTS],
    )
    for name, text, start in (
        (
            "stream_first_event_seconds",
            "Time from the head of a request to the first event of its stream.",
            slots.STREAM_FIRST_EVENTS,
        ),
        (
            "stream_duration_seconds",
            "Time from the head of a request to the end of its stream.",
            slots.STREAM_DURATIONS,
        ),
    ):
        writer.family(name, "histogram", text)
        writer.histogram(name, numbers, start, STREAM_SECONDS)


def _write_state(writer: _Writer, snapshot: Snapshot) -> None:
    numbers = snapshot.numbers
    writer.single(
        "requests_in_flight",
        "gauge",
        "Requests that have started and are not answered yet.",
        numbers[slots.IN_FLIGHT],
    )
    writer.single("workers", "gauge", "Worker processes.", snapshot.workers)
    writer.single(
        "request_log_dropped_total",
        "counter",
        "Requests missing from the request log because it could not be written fast enough.",
        numbers[slots.REQUEST_LOG_DROPPED],
    )
    writer.family("info", "gauge", "Versions of the server and its environment; always 1.")
    writer.sample("info", 1, **snapshot.info)


def _write_model(writer: _Writer, snapshot: Snapshot) -> None:
    if snapshot.model_age is not None:
        writer.single(
            "model_age_seconds",
            "gauge",
            "Time since the model version was created.",
            snapshot.model_age,
        )
    if snapshot.environment_matches is not None:
        writer.single(
            "environment_matches_model",
            "gauge",
            (
                "1 if Python and all packages match the requirements in the model's "
                "files, otherwise 0."
            ),
            int(snapshot.environment_matches),
        )
    if snapshot.onnx is not None:
        writer.family(
            "model_converted_to_onnx",
            "gauge",
            "1 if ONNX Runtime predicts in all workers, otherwise 0, with the reason.",
        )
        writer.sample(
            "model_converted_to_onnx", snapshot.onnx.predicts, reason=snapshot.onnx.reason
        )


def _write_drift(writer: _Writer, snapshot: Snapshot) -> None:
    writer.single(
        "drift_dropped_rows_total",
        "counter",
        ("Rows not counted for drift because they arrived faster than they could be counted."),
        snapshot.numbers[slots.DRIFT_ROWS_DROPPED],
    )
    if snapshot.baseline_source is None:
        return
    writer.family("drift_baseline", "gauge", "The source of the drift baseline; always 1.")
    writer.sample("drift_baseline", 1, source=snapshot.baseline_source)
    for kind, label, series in (
        ("feature", "feature", snapshot.features),
        ("prediction", "output", snapshot.predictions),
    ):
        _write_bins(writer, kind, label, series)


def _write_feature_ages(writer: _Writer, numbers: Sequence[float]) -> None:
    writer.family(
        "feature_age_seconds", "histogram", "Time from when the features of a row were computed."
    )
    writer.histogram("feature_age_seconds", numbers, slots.FEATURE_AGES, AGES)
    writer.single(
        "feature_age_invalid_rows_total",
        "counter",
        "Rows whose features have no known age: without the column, or without a time in it.",
        numbers[slots.FEATURE_AGE_INVALID],
    )


def _write_bins(writer: _Writer, kind: str, label: str, series: Sequence[DriftSeries]) -> None:
    writer.family(f"{kind}_values_total", "counter", f"Values of each {label}, by bin.")
    for each in series:
        for name, count in zip(each.bins.labels(), each.total, strict=True):
            writer.sample(f"{kind}_values_total", count, **{label: each.bins.name, "bin": name})
    writer.family(
        f"{kind}_baseline_ratio", "gauge", f"Share of each bin in the baseline of the {label}."
    )
    for each in series:
        for name, ratio in zip(each.bins.labels(), each.bins.ratios(), strict=True):
            writer.sample(f"{kind}_baseline_ratio", ratio, **{label: each.bins.name, "bin": name})
    writer.family(
        f"{kind}_psi",
        "gauge",
        f"Population stability index of the {label} against its baseline, over the last hour.",
    )
    for each in series:
        if sum(each.recent) >= MIN_ROWS:
            index = psi(each.bins.counts, each.recent)
            writer.sample(f"{kind}_psi", index, **{label: each.bins.name})


def _write_shadows(writer: _Writer, shadows: Shadows) -> None:
    writer.single(
        "shadow_config_valid",
        "gauge",
        "1 if the file of the shadow can be used or is absent, otherwise 0.",
        shadows.is_valid,
    )
    writer.family("shadow_info", "gauge", "The version that requests are copied to; always 1.")
    for each in shadows.series:
        if each.is_in_effect:
            labels = {"shadow_revision": each.revision, "shadow_version": each.version}
            writer.sample("shadow_info", 1, **labels)
    writer.family("shadow_requests_total", "counter", "Copies of requests, by their outcome.")
    for each in shadows.series:
        for outcome in shadow_memory.OUTCOMES:
            count = each.numbers[shadow_memory.place_of(outcome)]
            labels = {"shadow_revision": each.revision, "outcome": outcome}
            writer.sample("shadow_requests_total", count, **labels)
    writer.family(
        "shadow_duration_seconds",
        "histogram",
        "Time from the begin of sending a copy to the end of the shadow's answer.",
    )
    for each in shadows.series:
        writer.histogram(
            "shadow_duration_seconds",
            each.numbers,
            shadow_memory.DURATION,
            SECONDS,
            shadow_revision=each.revision,
        )
    _write_shadow_rows(writer, shadows.series)


def _write_shadow_rows(writer: _Writer, series: Sequence[ShadowSeries]) -> None:
    for name, text, place in (
        (
            "shadow_compared_rows_total",
            "Rows of predictions that were compared with the shadow's.",
            shadow_memory.ROWS,
        ),
        (
            "shadow_disagreed_rows_total",
            "Rows in which the shadow's predictions differ.",
            shadow_memory.DISAGREED,
        ),
        (
            "shadow_numeric_rows_total",
            "Rows with predicted numbers, of which the absolute error is measured.",
            shadow_memory.NUMERIC,
        ),
        (
            "shadow_absolute_error_total",
            "Sum of the absolute differences from the shadow's predictions.",
            shadow_memory.ABSOLUTE_ERROR,
        ),
    ):
        writer.family(name, "counter", text)
        for each in series:
            writer.sample(name, each.numbers[place], shadow_revision=each.revision)


def _write_process(writer: _Writer, process: Process) -> None:
    for name, kind, text, value in (
        (
            "cpu_seconds_total",
            "counter",
            "CPU time of all processes in seconds.",
            process.cpu_seconds,
        ),
        (
            "start_time_seconds",
            "gauge",
            "Start time of the first process, as Unix time in seconds.",
            process.start_time,
        ),
        (
            "resident_memory_bytes",
            "gauge",
            "Resident memory of all processes in bytes.",
            process.resident_bytes,
        ),
        ("open_fds", "gauge", "Open file descriptors of all processes.", process.open_fds),
        ("max_fds", "gauge", "Limit of open file descriptors per process.", process.max_fds),
    ):
        if value is not None:
            writer.single(name, kind, text, value, prefix="process_")


class _Writer:
    def __init__(self, labels: Labels) -> None:
        self._common = labels
        self._lines: list[str] = []

    def family(self, name: str, kind: str, text: str, prefix: str = PREFIX) -> None:
        self._lines.append(f"# HELP {prefix}{name} {text}")
        self._lines.append(f"# TYPE {prefix}{name} {kind}")

    def sample(self, name: str, value: float, prefix: str = PREFIX, **labels: str) -> None:
        pairs = ",".join(
            f'{label}="{_escaped(text)}"' for label, text in {**self._common, **labels}.items()
        )
        self._lines.append(f"{prefix}{name}{{{pairs}}} {_number(value)}")

    def single(self, name: str, kind: str, text: str, value: float, prefix: str = PREFIX) -> None:
        self.family(name, kind, text, prefix)
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
        ends = [*(f"{bound:.10g}" for bound in bounds), "+Inf"]
        for end, bucket in zip(ends, numbers[start : start + len(ends)], strict=True):
            count += bucket
            self.sample(f"{name}_bucket", count, **labels, le=end)
        self.sample(f"{name}_sum", numbers[start + len(ends)], **labels)
        self.sample(f"{name}_count", count, **labels)

    def text(self) -> str:
        return "\n".join([*self._lines, ""])


def _number(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
