"""Name the action in a video file: compute its optical flow, run the networks, fuse."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stpa.data.manifest import Video
from stpa.data.probe import probe
from stpa.data.storage import Folder, Storage
from stpa.evaluation.explain import (
    Contrast,
    Explanation,
    StreamEvidence,
    best_contrast,
    middle_flow,
)
from stpa.evaluation.fusion import Fusion
from stpa.evaluation.localisation.maps import attention_shares
from stpa.evaluation.reading import Clip, NetworkInput, Reading, describe_video
from stpa.models.checkpoint import load_model, load_shared
from stpa.models.heads import Pyramid
from stpa.models.network import ActionNetwork
from stpa.shapes import Float

Predict = Callable[[Path], Float[np.ndarray, " classes"]]
"""From a video file to its logits by class; see `NetworkSpec.multi_label` for probabilities."""


@dataclass(frozen=True)
class _Look:
    """One network's only pass over a clip."""

    pyramid: Pyramid
    """Of the centre crop."""
    logits: Float[np.ndarray, " classes"]


class Classifier:
    """One network, or those of several streams, whose scores are fused."""

    def __init__(
        self,
        networks: Mapping[str, ActionNetwork],
        *,
        fusion: Fusion | None,
        num_segments: int,
        num_crops: int,
        optical_flow: Mapping[str, Any],
    ) -> None:
        """Take networks by stream; `optical_flow` holds `OpticalFlowConfig`'s values."""
        self.networks = networks
        spec = next(iter(networks.values())).spec
        self.class_names, self.multi_label = spec.class_names, spec.multi_label
        self._fusion = fusion
        self.reading = Reading(
            {
                stream: NetworkInput(
                    network.spec.stream, network.spec.short_side, network.spec.input_size
                )
                for stream, network in networks.items()
            },
            num_segments,
            num_crops,
            optical_flow,
        )

    def scores(self, video: Video, storage: Storage) -> Float[np.ndarray, " classes"]:
        """Classify a video in `storage`. Raises DataError when it does not decode."""
        return self.score_clips(self.reading.read(video, storage))

    def score_clips(self, clips: Mapping[str, Clip]) -> Float[np.ndarray, " classes"]:
        """Classify what `reading` has read of a video."""
        return self._fuse(self._look(clips))

    def explain(
        self, video: Video, storage: Storage, stored_flow: Storage | None = None
    ) -> Explanation:
        """Classify a video in `storage`, and find which positions of which frames decided.

        `stored_flow` holds its optical flow, made as this classifier takes it. Without it, the
        flow is computed again.
        """
        clips = self.reading.read(video, storage, stored_flow, with_pictures=True)
        return self.explain_clips(clips, video.fps)

    def explain_clips(self, clips: Mapping[str, Clip], fps: float) -> Explanation:
        """Do as `explain` with what `reading` has read, with pictures, of a video."""
        looks = self._look(clips)
        scores = self._fuse(looks)
        contrast = best_contrast(scores, self.multi_label)
        bound_px = self.reading.optical_flow["bound_px"]
        return Explanation(
            class_names=self.class_names,
            multi_label=self.multi_label,
            scores=scores,
            contrast=contrast,
            streams={
                stream: _explain(self.networks[stream], clips[stream], look, contrast, bound_px)
                for stream, look in looks.items()
            },
            fps=fps,
        )

    def _look(self, clips: Mapping[str, Clip]) -> dict[str, _Look]:
        return {stream: _look(network, clips[stream]) for stream, network in self.networks.items()}

    def _fuse(self, looks: Mapping[str, _Look]) -> Float[np.ndarray, " classes"]:
        if self._fusion is None:
            [look] = looks.values()
            return look.logits
        fuse = self._fusion.rule(self.multi_label)
        return fuse({stream: look.logits for stream, look in looks.items()})


@torch.inference_mode()
def _look(network: ActionNetwork, clip: Clip) -> _Look:
    num_crops, num_positions = clip.crops.shape[:2]
    frames = torch.from_numpy(clip.crops).flatten(0, 1).to(network.mean.device)
    pyramid = network.pyramid(frames)
    logits = network.classify(network.frame_states(pyramid, num_crops)).mean(dim=0)
    return _Look([maps[:num_positions] for maps in pyramid], logits.cpu().numpy())


@torch.inference_mode()
def _explain(
    network: ActionNetwork, clip: Clip, look: _Look, contrast: Contrast, bound_px: float
) -> StreamEvidence:
    """Find the evidence for a contrast, next to the RGB pictures that it lies on."""
    assert clip.pictures is not None, "clips of an explanation are read with pictures"
    stream = network.spec.stream
    weights = torch.from_numpy(contrast.weights(len(look.logits))).to(network.mean.device)
    attention = attention_shares(network, look.pyramid) if network.attends else None
    return StreamEvidence(
        frames=clip.pictures.transpose(0, 2, 3, 1),
        flow=middle_flow(clip.crops[0], bound_px) if stream.reads_optical_flow else None,
        indices=clip.indices,
        evidence=network.evidence(look.pyramid, weights).cpu().numpy(),
        frame_weights=network.frame_weights(look.pyramid).cpu().numpy(),
        logits=look.logits,
        attention=None if attention is None else attention.cpu().numpy(),
    )


def load_and_score(
    video: Video,
    *,
    storage: Storage,
    networks: Mapping[str, Path],
    fusion: Fusion | None,
    num_segments: int,
    num_crops: int,
    optical_flow: Mapping[str, Any],
    device: str,
) -> Float[np.ndarray, " classes"]:
    """Load model folders by stream, as `load_shared` does, and classify a video by them."""
    classifier = Classifier(
        {stream: load_shared(folder, device) for stream, folder in networks.items()},
        fusion=fusion,
        num_segments=num_segments,
        num_crops=num_crops,
        optical_flow=optical_flow,
    )
    return classifier.scores(video, storage)


def load_predict(
    networks: Mapping[str, Path],
    *,
    fusion: Fusion | None,
    num_segments: int,
    num_crops: int,
    optical_flow: Mapping[str, Any],
) -> Predict:
    """Load model folders by stream as a function from video files to scores."""
    classifier = Classifier(
        {stream: load_model(folder) for stream, folder in networks.items()},
        fusion=fusion,
        num_segments=num_segments,
        num_crops=num_crops,
        optical_flow=optical_flow,
    )
    return lambda path: classifier.scores(describe_video(path, probe(path)), Folder(path.parent))
