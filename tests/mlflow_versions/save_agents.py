"""Saves an agent of each kind as its author would, in an environment with some version of MLflow.

save_agents.py FOLDER VERSION: the models go to FOLDER/KIND, and require mlflow==VERSION.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.unit.server.agents import agent_models

AGENTS = {
    "ChatModel": agent_models.CHAT_MODEL,
    "ChatAgent": agent_models.CHAT_AGENT,
    "ResponsesAgent": agent_models.RESPONSES_AGENT,
}


def main(folder: str, version: str) -> None:
    """Saves them all: MLflow is imported once."""
    for kind, code in AGENTS.items():
        agent_models.save(Path(folder) / kind, code, f"mlflow=={version}")


if __name__ == "__main__":
    main(*sys.argv[1:])
