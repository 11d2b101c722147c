"""The model: loading it, and calling it in the fastest way that gives the same answers."""
