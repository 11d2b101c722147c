"""Brings up the kind cluster that the demo, the tests and the benchmarks run on.

Standard library only: this runs before any virtual environment exists.
"""
