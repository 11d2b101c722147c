"""Webhooks of MLflow's registry: hints that a registered model is to be polled now.

The polls stay the base: a delivery that is lost, late or refused delays an update by one poll
interval, and nothing that a delivery says is relied on but which model to poll.
"""

from mlflow_model_operator.webhooks.server import Receiver, serve

__all__ = ["Receiver", "serve"]
