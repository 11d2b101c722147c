"""The protocols of agents: MLflow's, and OpenAI's chat completions and responses."""
