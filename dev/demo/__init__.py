"""The demo: `make demo`, or `python -m dev.demo` on a cluster that is up."""
