"""Judges a version by what its pods, and those of the stable one, count in the same time. Pure.

measurement/ reads the pods; docs/how-to/analysis.md states the tests and their sources.
"""

from mlflow_model_operator.analysis.exposition import (
    Exposition,
    ExpositionParser,
    InvalidExposition,
)
from mlflow_model_operator.analysis.report import (
    Measurement,
    MetricReport,
    PodReading,
    Reading,
    Report,
    StepId,
)
from mlflow_model_operator.analysis.session import Session
from mlflow_model_operator.analysis.shadow import (
    ShadowCounts,
    ShadowMeasurement,
    ShadowReport,
    shadow_report,
)

__all__ = [
    "Exposition",
    "ExpositionParser",
    "InvalidExposition",
    "Measurement",
    "MetricReport",
    "PodReading",
    "Reading",
    "Report",
    "Session",
    "ShadowCounts",
    "ShadowMeasurement",
    "ShadowReport",
    "StepId",
    "shadow_report",
]
