"""What the operator sets or understands already, and the scoring server does not yet.

Each test that uses this fails as soon as the server has it: then it goes from here.
"""

from __future__ import annotations

from mlflow_model_operator.api.contract import Variable
from mlflow_model_operator.api.reasons import Reason

VARIABLES = {Variable.JWT_SUBJECTS}
REASONS = {Reason.ACCESS_SECRET_INVALID}
