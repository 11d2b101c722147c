"""The one exception that people are meant to read."""


class ClusterError(Exception):
    """What went wrong and what to do about it, in a sentence."""
