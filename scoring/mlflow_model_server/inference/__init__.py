"""Predicting: batches, threads, and MLflow's own code where a request is not plainly right."""
