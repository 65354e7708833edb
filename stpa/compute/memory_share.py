"""What a training's worker may take of the memory of its node."""

import ray

from stpa.config import ComputeConfig


def memory_share(compute: ComputeConfig, num_cpus: float, num_trainings: int) -> float:
    """Return a worker's part of the free memory of its GPU or, without one, of its host.

    A host with `num_cpus` CPUs is shared by as many workers of `num_trainings` trainings as it has
    room for.
    """
    if compute.gpus_per_worker:
        return min(1.0, compute.gpus_per_worker)
    wanted = num_trainings * compute.workers_per_stream
    return 1 / max(1, min(wanted, int(num_cpus / compute.cpus_per_worker)))


def node_cpus() -> float:
    """Return the CPUs of the node that this process of the cluster is on."""
    node_id = ray.get_runtime_context().get_node_id()
    [resources] = [node["Resources"] for node in ray.nodes() if node["NodeID"] == node_id]
    return resources.get("CPU", 0.0)
