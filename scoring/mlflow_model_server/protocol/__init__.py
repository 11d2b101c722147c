"""Bodies of requests and answers, by MLflow's protocol."""
