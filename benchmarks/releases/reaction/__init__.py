"""How soon a release reacts, on the cluster of `make cluster`: see benchmarks/README.md."""
