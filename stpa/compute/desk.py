"""Where a training's workers and the process that submitted it leave word for each other."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import ray
from ray.exceptions import ActorDiedError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tenacity import retry, retry_if_exception_type, stop_after_attempt


class Step(NamedTuple):
    """How far a training is."""

    done: int
    """Steps, counted over all epochs."""
    total: int
    means: Mapping[str, float]
    """Over the epoch so far (`stpa.training.guard.LossGuard.means`)."""


class News(NamedTuple):
    """What has come from the workers since the last look."""

    epochs: list[dict[str, float]]
    """Their metrics."""
    step: Step | None
    """The last one, whether it is new or not; None before the first."""
    group: PlacementGroup | None
    """What workers that have started hold of the cluster."""


class _Desk:
    """A Ray actor."""

    def __init__(self) -> None:
        self._epochs: list[dict[str, float]] = []
        self._step: Step | None = None
        self._group: PlacementGroup | None = None
        self._is_leaving = False

    def put_group(self, group: PlacementGroup | None) -> None:
        self._group = group

    def put_epoch(self, metrics: dict[str, float]) -> None:
        self._epochs.append(metrics)

    def put_step(self, step: Step) -> bool:
        """Return whether to leave."""
        self._step = step
        return self._is_leaving

    def ask_to_leave(self) -> None:
        self._is_leaving = True

    def take(self) -> News:
        news = News(self._epochs, self._step, self._group)
        self._epochs, self._group = [], None
        return news


@retry(retry=retry_if_exception_type(ActorDiedError), stop=stop_after_attempt(3), reraise=True)
def open_desk() -> Any:
    """Start one on the node of this process, whose loss ends the training anyway.

    It is there when this returns. Where two threads start actors, Ray has once taken a new one's
    references for gone, and cancelled it before it ran.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk: Any = ray.remote(_Desk).options(num_cpus=0, scheduling_strategy=here).remote()
    ray.get(desk.take.remote())
    return desk
