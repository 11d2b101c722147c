"""Drift: how far features and predictions are from the model's baseline."""
