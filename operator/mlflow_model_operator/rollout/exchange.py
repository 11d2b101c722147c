"""Pods that are exchanged a few at a time, where there is no room for a second set. Pure.

The new revision gets pods, then the share of the requests that those can serve, then the old one
gives up as many. So both together never have more than the surge allows, and those that serve are
never fewer than before; without any surge one fewer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlflow_model_operator.rollout.steps import Schedule, Step


@dataclass(frozen=True)
class Exchange:
    """How `replicas` pods are exchanged with no more than `surge` beside them."""

    replicas: int
    surge: int

    @property
    def has_gap(self) -> bool:
        """Whether the only pod has to end before another can begin."""
        return self.replicas == 1 and self.surge == 0

    @property
    def schedule(self) -> Schedule:
        """A share for each number of pods that the new revision gets, before it takes over."""
        return tuple(Step(self._share(pods), pods=pods) for pods in self._counts)

    @property
    def first_pods(self) -> int:
        """The pods of the new revision for which no old one has to end."""
        return self.pods_at(0) if self.surge else 0

    def pods_at(self, step: int) -> int:
        """The pods that the new revision has at a step; before it takes over, after the last."""
        return self._counts[step] if step < len(self._counts) else self._last

    def stable_pods(self, pods: int) -> int:
        """The pods that the old revision may have beside so many new ones."""
        return max(0, min(self.replicas, self.replicas + self.surge - pods))

    @property
    def _unit(self) -> int:
        return max(self.surge, 1)

    @property
    def _last(self) -> int:
        """One less without any surge: the old revision keeps a pod until it has no requests."""
        return self.replicas if self.surge else max(self.replicas - 1, 1)

    @property
    def _counts(self) -> range:
        return range(self._unit, self._last, self._unit)

    def _share(self, pods: int) -> int:
        """The share of so many pods, beside the old ones that stay for the next step, in percent.

        >>> [step.weight for step in Exchange(4, surge=1).schedule]
        [25, 50, 75]
        >>> [step.weight for step in Exchange(3, surge=0).schedule]
        [50]
        """
        beside = self.stable_pods(min(pods + self._unit, self._last))
        return max(1, 100 * pods // (pods + beside))


def exchange(surge_percent: int, replicas: int) -> Exchange | None:
    """The exchange that this surge asks for; None where it has room for a second set.

    >>> exchange(100, 4)
    >>> exchange(30, 4)
    Exchange(replicas=4, surge=2)
    """
    surge = math.ceil(replicas * surge_percent / 100)
    return None if surge >= replicas else Exchange(replicas, surge)
