"""The process and its container: workers, limits, paths, certificates, its termination message."""
