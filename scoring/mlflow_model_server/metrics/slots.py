"""The place of each number in a worker's part of the shared memory.

All are 64-bit floats, which count exactly up to 2**53. A histogram is its buckets (not cumulative),
the one for all above the last bound, and the sum of all observations.
"""

from __future__ import annotations

from mlflow_model_server.drift.bins import AGES, MAX_BINS

# The values of `route`; all other requests count as OTHER, so that no client can make series.
INVOCATIONS = "/invocations"
INFER = "/v2/models/{model}/infer"
OTHER = "other"
ROUTES = (
    INVOCATIONS,
    INFER,
    "/ping",
    "/health",
    "/version",
    "/openapi.json",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{model}",
    "/v2/models/{model}/ready",
    "/v2/repository/index",
    "/v1/chat/completions",
    "/v1/responses",
    "/responses",
    "/v1/models",
    "/v1/models/{model}",
    OTHER,
)
PHASES = ("queue", "decode", "predict", "encode")
CODES = range(100, 600)

SECONDS = (
    *(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
# Of streams, which last longer.
STREAM_SECONDS = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)
_DURATION = len(SECONDS) + 2
_SIZE = len(SIZES) + 2
_STREAM = len(STREAM_SECONDS) + 2
_AGE = len(AGES) + 2

# These three are of the worker that has the slot now; all that follow only grow.
PID = 0
IN_FLIGHT = 1
ONNX = 2  # ONNX_ACTIVE or ONNX_INACTIVE; 0 until the model is loaded
REQUEST_LOG_DROPPED = 3
DRIFT_ROWS_DROPPED = 4
REQUESTS = 5  # one for each route and code
DURATIONS = REQUESTS + len(ROUTES) * len(CODES)  # a histogram for each route
PHASE_DURATIONS = DURATIONS + len(ROUTES) * _DURATION  # a histogram for each phase
BATCH_REQUESTS = PHASE_DURATIONS + len(PHASES) * _DURATION
BATCH_ROWS = BATCH_REQUESTS + _SIZE
STREAM_EVENTS = BATCH_ROWS + _SIZE
STREAM_FIRST_EVENTS = STREAM_EVENTS + 1  # a histogram, as the next
STREAM_DURATIONS = STREAM_FIRST_EVENTS + _STREAM
FEATURE_AGE_INVALID = STREAM_DURATIONS + _STREAM
FEATURE_AGES = FEATURE_AGE_INVALID + 1  # a histogram
DRIFT = FEATURE_AGES + _AGE
SLOT = DRIFT + MAX_BINS

ONNX_ACTIVE, ONNX_INACTIVE = 1, 2


def requests_at(route: int) -> int:
    """The place of the counter for `route` (an index of ROUTES) and code 100; the others follow."""
    return REQUESTS + route * len(CODES)


def duration_at(route: int) -> int:
    """The begin of the histogram of a route's durations."""
    return DURATIONS + route * _DURATION


def phase_at(phase: int) -> int:
    """The begin of the histogram of a phase's durations."""
    return PHASE_DURATIONS + phase * _DURATION
