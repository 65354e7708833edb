"""Name the action in a video file: compute its optical flow, run the networks, fuse."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stpa.data.clips import load_test_clip, stored_frames
from stpa.data.manifest import Video
from stpa.data.probe import Probe, probe
from stpa.data.sampling import STACK_LENGTH, test_positions
from stpa.errors import DataError
from stpa.evaluation.fusion import FUSION_RULES
from stpa.models.checkpoint import load_model, load_shared
from stpa.models.heads import Pyramid
from stpa.models.network import ActionNetwork
from stpa.optical_flow.extract import extract_video
from stpa.shapes import Float, Int, UInt8

Predict = Callable[[Path], Float[np.ndarray, " classes"]]
"""From a video file to its scores by class: logits, whose softmax are probabilities."""


@dataclass(frozen=True)
class StreamEvidence:
    """What one network saw, and what in it spoke for a class."""

    frames: UInt8[np.ndarray, "time height width 3"]
    """The RGB pictures at the positions the network looked at, cropped as it saw them."""
    indices: Int[np.ndarray, " time"]
    """Their places in the video, ascending; they repeat in a video with fewer frames."""
    evidence: Float[np.ndarray, "time rows columns"]
    """Each place's share of the class's lead over the mean logit (`ActionNetwork.evidence`)."""


@dataclass(frozen=True)
class Explanation:
    """Scores of one video, and the evidence of each stream for its best class."""

    scores: Float[np.ndarray, " classes"]
    streams: Mapping[str, StreamEvidence]
    fps: float
    """Of the video; zero where its container does not say."""


@dataclass(frozen=True)
class _Look:
    """One network's only pass over a video."""

    positions: Int[np.ndarray, " time"]
    clip: UInt8[np.ndarray, "time channels height width"]
    pyramid: Pyramid
    logits: Float[np.ndarray, " classes"]


class Classifier:
    """One network, or an RGB and a flow network whose scores are fused."""

    def __init__(
        self,
        networks: Mapping[str, ActionNetwork],
        *,
        late_fusion: str | None,
        num_segments: int,
        optical_flow: Mapping[str, Any],
    ) -> None:
        """Take networks by stream; `optical_flow` holds `OpticalFlowConfig`'s values."""
        self.networks = networks
        self._late_fusion = late_fusion
        self._num_segments = num_segments
        self._optical_flow = optical_flow

    def scores(self, video: Video, root: Path) -> Float[np.ndarray, " classes"]:
        """Classify a video below `root`. Raises DataError when it does not decode."""
        return self._fuse(self._look(video, root))

    def explain(self, video: Video, root: Path) -> Explanation:
        """Classify a video below `root`, and say which places of which frames decided."""
        looks = self._look(video, root)
        scores = self._fuse(looks)
        streams = {
            stream: _explain(self.networks[stream], look, video, root, int(scores.argmax()))
            for stream, look in looks.items()
        }
        return Explanation(scores, streams, video.fps)

    def _look(self, video: Video, root: Path) -> dict[str, _Look]:
        with tempfile.TemporaryDirectory() as folder:
            roots = {"rgb": root, "flow": Path(folder)}
            if "flow" in self.networks:
                extract_video(
                    root / video.path,
                    roots["flow"] / f"{video.video_id}.avi",
                    num_frames=video.num_frames,
                    source_sha256=video.sha256,
                    **self._optical_flow,
                )
            return {
                stream: _look(network, video, roots[stream], self._num_segments)
                for stream, network in self.networks.items()
            }

    def _fuse(self, looks: Mapping[str, _Look]) -> Float[np.ndarray, " classes"]:
        if self._late_fusion is None:
            [look] = looks.values()
            return look.logits
        return FUSION_RULES[self._late_fusion](looks["rgb"].logits, looks["flow"].logits)


@torch.inference_mode()
def _look(network: ActionNetwork, video: Video, root: Path, num_segments: int) -> _Look:
    """Read the clip of TSN's test positions and run the network; `root` holds its stream."""
    spec = network.spec
    num_frames, span = stored_frames(video, spec.stream)
    positions = test_positions(num_frames, num_segments, span)
    clip = load_test_clip(
        video, spec.stream, root, positions, short_side=spec.short_side, input_size=spec.input_size
    )
    pyramid = network.pyramid(torch.from_numpy(clip).to(network.mean.device))
    logits = network.classify(network.frame_states(pyramid))
    return _Look(positions, clip, pyramid, logits.cpu().numpy())


@torch.inference_mode()
def _explain(
    network: ActionNetwork, look: _Look, video: Video, root: Path, class_index: int
) -> StreamEvidence:
    """Lay the evidence for a class over RGB pictures; `root` holds the video."""
    spec = network.spec
    indices, pictures = look.positions, look.clip
    if spec.stream == "flow":  # the middle frame of each stack shows what moved
        indices = np.minimum(indices + STACK_LENGTH // 2, video.num_frames - 1)
        sizes = {"short_side": spec.short_side, "input_size": spec.input_size}
        pictures = load_test_clip(video, "rgb", root, indices, **sizes)
    evidence = network.evidence(look.pyramid, class_index).cpu().numpy()
    return StreamEvidence(pictures.transpose(0, 2, 3, 1), indices, evidence)


def describe_video(path: Path, found: Probe | str) -> Video:
    """Describe a file that is in no manifest. Raises DataError where `found` is its fault."""
    if isinstance(found, str):
        raise DataError(f"{path} cannot be classified: {found}")
    return Video(
        video_id=path.stem,
        path=path.name,
        label="unknown",
        group="",
        split="test",
        status="ok",
        reason="",
        **found.model_dump(),
    )


def load_and_score(
    video: Video,
    *,
    root: Path,
    networks: Mapping[str, Path],
    late_fusion: str | None,
    num_segments: int,
    optical_flow: Mapping[str, Any],
    device: str,
) -> Float[np.ndarray, " classes"]:
    """Load model folders by stream, as `load_shared` does, and classify a video by them."""
    classifier = Classifier(
        {stream: load_shared(folder, device) for stream, folder in networks.items()},
        late_fusion=late_fusion,
        num_segments=num_segments,
        optical_flow=optical_flow,
    )
    return classifier.scores(video, root)


def load_stream(folder: Path, num_segments: int, optical_flow: Mapping[str, Any]) -> Predict:
    """Load one network as a function from video files to logits."""
    network = load_model(folder)
    return _predict_by({network.spec.stream: network}, None, num_segments, optical_flow)


def load_fused(
    rgb_folder: Path,
    flow_folder: Path,
    late_fusion: str,
    num_segments: int,
    optical_flow: Mapping[str, Any],
) -> Predict:
    """Load both networks as a function from video files to fused scores."""
    networks = {"rgb": load_model(rgb_folder), "flow": load_model(flow_folder)}
    return _predict_by(networks, late_fusion, num_segments, optical_flow)


def _predict_by(
    networks: Mapping[str, ActionNetwork],
    late_fusion: str | None,
    num_segments: int,
    optical_flow: Mapping[str, Any],
) -> Predict:
    classifier = Classifier(
        networks, late_fusion=late_fusion, num_segments=num_segments, optical_flow=optical_flow
    )
    return lambda path: classifier.scores(describe_video(path, probe(path)), path.parent)
