"""Requests that releases lose, on the demo's cluster: see benchmarks/README.md."""
