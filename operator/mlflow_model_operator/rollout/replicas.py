"""Replica arithmetic where no gateway splits the traffic."""

from __future__ import annotations


def approximate_canary_replicas(stable_replicas: int, weight: int) -> int:
    """How many canary pods beside `stable_replicas` come nearest to `weight` percent of all pods.

    A Service spreads requests evenly over pods, so c canary pods beside s stable ones get
    c / (s + c) of them; solved for c and rounded. At least one, or the canary would get none.

    >>> approximate_canary_replicas(9, 10)
    1
    >>> approximate_canary_replicas(2, 50)
    2
    >>> approximate_canary_replicas(1, 10)
    1
    """
    if weight <= 0 or stable_replicas <= 0:
        return 1
    if weight >= 100:
        return stable_replicas
    return max(1, round(stable_replicas * weight / (100 - weight)))
