"""Counting in memory that all workers share, and telling Prometheus."""
