"""Looks at the pods that send copies of requests to a shadow."""

from __future__ import annotations

from mlflow_model_operator.analysis import (
    Reading,
    ShadowMeasurement,
    ShadowReport,
    shadow_report,
)
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.measurement.poller import Poller, Subscription


class ShadowLooks:
    """Each look stands alone: the pods' counters begin with their shadow."""

    def __init__(self, measurement: ShadowMeasurement) -> None:
        self.measurement = measurement

    def look(self, at: float, reading: Reading) -> ShadowReport:
        """What the pods have counted until now."""
        return shadow_report(self.measurement, at, reading)


class ShadowPoller(Poller[ShadowMeasurement, ShadowReport]):
    """What the pods say of each shadow that there is."""

    def follow(self, key: Key, measurement: ShadowMeasurement | None) -> None:
        """From now on the shadow of `key` is read so; only another interval begins nothing."""
        super().follow(key, measurement)
        if measurement is not None:
            self._by_key[key].looks.measurement = measurement

    def _begin(
        self,
        measurement: ShadowMeasurement,
        _previous: Subscription[ShadowMeasurement, ShadowReport] | None,
    ) -> ShadowLooks:
        return ShadowLooks(measurement)

    def _seconds_to_next_look(self, measurement: ShadowMeasurement) -> float:
        return measurement.interval
