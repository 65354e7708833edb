"""Name the action in a video file: compute its optical flow, run the networks, fuse."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stpa.data.clips import ClipReader, stored_frames
from stpa.data.manifest import Video
from stpa.data.probe import Probe, probe
from stpa.data.sampling import test_positions
from stpa.data.storage import Folder, Storage
from stpa.data.transforms import centre_crop, test_crops
from stpa.errors import DataError
from stpa.evaluation.explain import (
    Contrast,
    Explanation,
    StreamEvidence,
    best_contrast,
    middle_flow,
)
from stpa.evaluation.fusion import Fusion
from stpa.evaluation.localisation.maps import attention_shares
from stpa.models.checkpoint import load_model, load_shared
from stpa.models.heads import Pyramid
from stpa.models.network import ActionNetwork
from stpa.optical_flow.extract import extract_video
from stpa.shapes import Float, Int, UInt8
from stpa.streams import RGB

Predict = Callable[[Path], Float[np.ndarray, " classes"]]
"""From a video file to its logits by class; see `NetworkSpec.multi_label` for probabilities."""


@dataclass(frozen=True)
class _Look:
    """One network's only pass over a video."""

    positions: Int[np.ndarray, " time"]
    clip: UInt8[np.ndarray, "time channels height width"]
    """Its centre crop."""
    pyramid: Pyramid
    """Of that crop."""
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
        self._num_segments = num_segments
        self._num_crops = num_crops
        self._optical_flow = optical_flow

    def scores(self, video: Video, storage: Storage) -> Float[np.ndarray, " classes"]:
        """Classify a video in `storage`. Raises DataError when it does not decode."""
        return self._fuse(self._look(video, storage))

    def explain(
        self, video: Video, storage: Storage, stored_flow: Storage | None = None
    ) -> Explanation:
        """Classify a video in `storage`, and find which positions of which frames decided.

        `stored_flow` holds its optical flow, made as this classifier takes it. Without it, the
        flow is computed again.
        """
        looks = self._look(video, storage, stored_flow)
        scores = self._fuse(looks)
        contrast = best_contrast(scores, self.multi_label)
        bound_px = self._optical_flow["bound_px"]
        return Explanation(
            class_names=self.class_names,
            multi_label=self.multi_label,
            scores=scores,
            contrast=contrast,
            streams={
                stream: _explain(self.networks[stream], look, video, storage, contrast, bound_px)
                for stream, look in looks.items()
            },
            fps=video.fps,
        )

    def _look(
        self, video: Video, storage: Storage, stored_flow: Storage | None = None
    ) -> dict[str, _Look]:
        with tempfile.TemporaryDirectory() as folder:
            flow_storage = stored_flow or Folder(Path(folder))
            reads_flow = [each.spec.stream.reads_optical_flow for each in self.networks.values()]
            if any(reads_flow) and stored_flow is None:
                with storage.local(video.path) as path:
                    extract_video(
                        path,
                        Path(folder) / video.flow_path,
                        num_frames=video.num_frames,
                        source_sha256=video.sha256,
                        **self._optical_flow,
                    )
            return {
                stream: _look(
                    network,
                    video,
                    flow_storage if is_flow else storage,
                    self._num_segments,
                    self._num_crops,
                )
                for (stream, network), is_flow in zip(
                    self.networks.items(), reads_flow, strict=True
                )
            }

    def _fuse(self, looks: Mapping[str, _Look]) -> Float[np.ndarray, " classes"]:
        if self._fusion is None:
            [look] = looks.values()
            return look.logits
        fuse = self._fusion.rule(self.multi_label)
        return fuse({stream: look.logits for stream, look in looks.items()})


@torch.inference_mode()
def _look(
    network: ActionNetwork, video: Video, storage: Storage, num_segments: int, num_crops: int
) -> _Look:
    """Read the clip of TSN's test positions and run the network; `storage` holds its stream."""
    spec = network.spec
    num_frames, span = stored_frames(video, spec.stream)
    positions = test_positions(num_frames, num_segments, span)
    clip = ClipReader(spec.stream, storage, spec.short_side).read(video, positions)
    crops = test_crops(clip, spec.input_size, num_crops, spec.stream)
    frames = torch.from_numpy(crops).flatten(0, 1).to(network.mean.device)
    pyramid = network.pyramid(frames)
    logits = network.classify(network.frame_states(pyramid, num_crops)).mean(dim=0)
    centre = [maps[: len(positions)] for maps in pyramid]
    return _Look(positions, crops[0], centre, logits.cpu().numpy())


@torch.inference_mode()
def _explain(
    network: ActionNetwork,
    look: _Look,
    video: Video,
    storage: Storage,
    contrast: Contrast,
    bound_px: float,
) -> StreamEvidence:
    """Find the evidence for a contrast, and the RGB pictures that it lies on in `storage`."""
    spec = network.spec
    indices = spec.stream.middle_frames(look.positions, video.num_frames)
    pictures, flow = look.clip, None
    if spec.stream.rest_level is not None:  # the middle frame of each span shows what moved
        pictures = ClipReader(RGB, storage, spec.short_side).read(video, indices)
        pictures = centre_crop(pictures, spec.input_size)
    if spec.stream.reads_optical_flow:
        flow = middle_flow(look.clip, bound_px)
    weights = torch.from_numpy(contrast.weights(len(look.logits))).to(network.mean.device)
    attention = attention_shares(network, look.pyramid) if network.attends else None
    return StreamEvidence(
        frames=pictures.transpose(0, 2, 3, 1),
        flow=flow,
        indices=indices,
        evidence=network.evidence(look.pyramid, weights).cpu().numpy(),
        frame_weights=network.frame_weights(look.pyramid).cpu().numpy(),
        logits=look.logits,
        attention=None if attention is None else attention.cpu().numpy(),
    )


def describe_video(path: Path, found: Probe | str) -> Video:
    """Describe a file that is in no manifest. Raises DataError where `found` is its fault."""
    if isinstance(found, str):
        raise DataError(f"{path} cannot be classified: {found}")
    return Video(
        video_id=path.stem,
        path=path.name,
        labels=(),
        intervals=(),
        group="",
        split="test",
        status="ok",
        reason="",
        **found.measures,
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
