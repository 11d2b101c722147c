"""What the tests stand on, beyond the cluster: brought up once, before the first test."""

from e2e.tests.platform.bring_up import bring_up
from e2e.tests.platform.operator_log import OperatorLog

__all__ = ["OperatorLog", "bring_up"]
