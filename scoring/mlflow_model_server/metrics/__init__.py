"""Metrics: workers count in shared memory, one process exposes the sums to Prometheus."""
