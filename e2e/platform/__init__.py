"""What the tests stand on, beyond the cluster: brought up once, before the first test."""

from e2e.platform.bring_up import bring_up
from e2e.platform.operator_log import OperatorLog

__all__ = ["OperatorLog", "bring_up"]
