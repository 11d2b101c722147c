"""The demo: `make demo`, or `python -m e2e.demo` on a cluster that is up."""
