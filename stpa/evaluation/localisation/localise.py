"""Measure one network's maps on one video, next to maps that know nothing of the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from stpa.data.annotations import Action
from stpa.data.keyed_random import keyed_generator
from stpa.data.manifest import Video
from stpa.data.storage import Storage
from stpa.errors import DataError
from stpa.evaluation.judging import judging_of
from stpa.evaluation.localisation.baselines import (
    centre_maps,
    flow_maps,
    random_maps,
    uniform_maps,
)
from stpa.evaluation.localisation.look import Look, look_at
from stpa.evaluation.localisation.maps import attention_maps, evidence_maps, with_new_head
from stpa.evaluation.localisation.metrics import measure_map
from stpa.evaluation.localisation.perturbation import perturb
from stpa.models.checkpoint import load_shared
from stpa.models.network import ActionNetwork
from stpa.shapes import Float, UInt8

ATTENTION, EVIDENCE, RANDOM = "attention", "evidence", "random"
NEW_HEAD = "{}, new head"
_PERTURBED = (ATTENTION, EVIDENCE, RANDOM)
_SEED = 0
"""Of new heads and random maps: equal inputs give equal results."""

Maps = dict[str, Float[np.ndarray, "time height width"]]
"""By what made them."""

Measured = dict[str, dict[str, float]]
"""By what made the map and by metric (`metrics.TITLES`); NaN where a metric is undefined."""


@dataclass(frozen=True)
class AnnotatedVideo:
    """A video with its actions, one at least."""

    video: Video
    actions: tuple[Action, ...]

    def __str__(self) -> str:
        """Name the video, for an error."""
        return str(self.video)


def load_and_localise(
    annotated: AnnotatedVideo,
    *,
    model_folder: Path,
    storage: Storage,
    flow_storage: Storage | None,
    num_segments: int,
    perturbs: bool,
    device: str,
) -> list[Measured]:
    """Load a model, as `load_shared` does, and measure its maps on a video; see `localise`."""
    return localise(
        load_shared(model_folder, device),
        _load_with_new_head(model_folder, device),
        annotated.video,
        annotated.actions,
        storage=storage,
        flow_storage=flow_storage,
        num_segments=num_segments,
        perturbs=perturbs,
    )


@torch.inference_mode()
def localise(
    network: ActionNetwork,
    renewed: ActionNetwork,
    video: Video,
    actions: Sequence[Action],
    *,
    storage: Storage,
    flow_storage: Storage | None,
    num_segments: int,
    perturbs: bool,
) -> list[Measured]:
    """Measure maps over the K = `num_segments` test positions of a video, for each of its actions.

    The maps: attention, where the head attends; the evidence for the action's class; both of
    `renewed`, which is the network `with_new_head`; and the baselines. `storage` holds the files of
    the network's stream, `flow_storage` the stored optical flow. With `perturbs`, deletion and
    insertion are measured too, which takes 22 passes over the clip for each map.
    Raises DataError where an action is none of the network's classes.
    """
    look = look_at(network, video, storage, flow_storage, num_segments)
    rng = keyed_generator(_SEED, video.video_id)
    found = []
    for action in actions:
        class_index = _class_index(network, video, action)
        maps = _network_maps(network, renewed, look, class_index) | _baselines(look, rng)
        measured = {
            name: measure_map(each, look.in_action(action), look.boxes(action), look.side)
            for name, each in maps.items()
        }
        if perturbs:
            for name in filter(maps.__contains__, _PERTURBED):
                measured[name] |= _perturb(network, look, maps[name], class_index, rng)
        found.append(measured)
    return found


@lru_cache(maxsize=2)  # as `load_shared`
def _load_with_new_head(folder: Path, device: str) -> ActionNetwork:
    return with_new_head(load_shared(folder, device), _SEED)


def _class_index(network: ActionNetwork, video: Video, action: Action) -> int:
    names = network.spec.class_names
    if action.label not in names:
        raise DataError(
            f"{video} shows {action.label!r}, which the network does not know: its classes are "
            f"{', '.join(names)}"
        )
    return names.index(action.label)


def _network_maps(
    network: ActionNetwork, renewed: ActionNetwork, look: Look, class_index: int
) -> Maps:
    # The backbones are the same, and so is the pyramid.
    networks = {"{}": network, NEW_HEAD: renewed}
    found = {}
    if network.attends:
        found = {
            form.format(ATTENTION): attention_maps(each, look.pyramid)
            for form, each in networks.items()
        }
    found |= {
        form.format(EVIDENCE): evidence_maps(each, look.pyramid, class_index)
        for form, each in networks.items()
    }
    return {name: each.double().cpu().numpy() for name, each in found.items()}


def _baselines(look: Look, rng: np.random.Generator) -> Maps:
    shape = look.map_shape
    maps = {
        "uniform": uniform_maps(shape),
        RANDOM: random_maps(shape, rng),
        "centre": centre_maps(shape),
    }
    if look.flow is not None:
        maps["|flow|"] = flow_maps(look.flow, *shape[1:])
    return maps


def _perturb(
    network: ActionNetwork,
    look: Look,
    maps: Float[np.ndarray, "time height width"],
    class_index: int,
    rng: np.random.Generator,
) -> dict[str, float]:
    convert = judging_of(network.spec.multi_label).probabilities

    def probability(clip: UInt8[np.ndarray, "time channels side side"]) -> float:
        pyramid = network.pyramid(torch.from_numpy(clip).to(network.mean.device))
        [logits] = network.classify(network.frame_states(pyramid)).cpu().numpy()
        return float(convert(logits)[class_index])

    stream = network.spec.stream
    return perturb(look.clip, maps, probability, stream=stream, rng=rng)._asdict()
