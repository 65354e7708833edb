"""What a worker of a training hears of its cluster between two steps."""

import ray.train

from stpa.compute.train import NOTICE_STEPS, _Worker
from stpa.training.agreement import Wish


def test_notice_of_a_lost_node_is_heeded_once_by_a_checkpoint(monkeypatch):
    looks = []

    def look() -> object:
        looks.append(None)
        return object() if len(looks) == 2 else None

    monkeypatch.setattr(ray.train, "get_preemption_info", look)
    worker = _Worker(rank=1, desk=None)
    wishes = [worker.after_step(done, 1000, {}) for done in range(1, 4 * NOTICE_STEPS + 1)]
    assert wishes.index(Wish.CHECKPOINT) == 2 * NOTICE_STEPS - 1
    assert wishes.count(Wish.CHECKPOINT) == 1
    assert set(wishes) == {Wish.GO_ON, Wish.CHECKPOINT}
