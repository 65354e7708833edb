"""Name the action in a video file: compute its optical flow, run the networks, fuse."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from stpa.evaluation.k_sweep import sweep_video
from stpa.models.checkpoint import load_model
from stpa.models.network import ActionNetwork
from stpa.optical_flow.extract import extract_video
from stpa.shapes import Float, UInt8

Predict = Callable[[Path], Float[np.ndarray, " classes"]]
"""From a video file to its scores by class: logits, whose softmax are probabilities."""


@dataclass(frozen=True)
class StreamEvidence:
    """What one network saw, and what in it spoke for a class."""

    frames: UInt8[np.ndarray, "time height width 3"]
    """The RGB pictures at the positions the network looked at, cropped as it saw them."""
    evidence: Float[np.ndarray, "time rows columns"]
    """Each place's share of the class's logit; they sum to it, but for the bias."""


@dataclass(frozen=True)
class Explanation:
    """Scores of one video, and the evidence of each stream for its best class."""

    scores: Float[np.ndarray, " classes"]
    streams: Mapping[str, StreamEvidence]


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
        self.class_names = next(iter(networks.values())).spec.class_names
        self._late_fusion = late_fusion
        self._num_segments = num_segments
        self._optical_flow = optical_flow

    def scores(self, path: Path) -> Float[np.ndarray, " classes"]:
        """Classify a video file. Raises DataError when it does not decode."""
        with self._opened(path) as (video, roots):
            return self._scores(video, roots)

    def explain(self, path: Path) -> Explanation:
        """Classify a video file, and say which places of which frames decided."""
        with self._opened(path) as (video, roots):
            scores = self._scores(video, roots)
            best = int(scores.argmax())
            streams = {
                stream: self._evidence(network, video, roots, best)
                for stream, network in self.networks.items()
            }
        return Explanation(scores, streams)

    @contextmanager
    def _opened(self, path: Path) -> Iterator[tuple[Video, dict[str, Path]]]:
        """Check the file and store its optical flow; yield it, and each stream's folder."""
        found = probe(path)
        if not isinstance(found, Probe):
            raise DataError(f"{path} cannot be classified: {found}")
        video = Video(
            video_id=path.stem,
            path=path.name,
            label="unknown",
            group="",
            split="test",
            status="ok",
            reason="",
            **found.model_dump(),
        )
        with tempfile.TemporaryDirectory() as folder:
            if "flow" in self.networks:
                extract_video(
                    path,
                    Path(folder) / f"{video.video_id}.avi",
                    num_frames=video.num_frames,
                    source_sha256=video.sha256,
                    **self._optical_flow,
                )
            yield video, {"rgb": path.parent, "flow": Path(folder)}

    def _scores(self, video: Video, roots: Mapping[str, Path]) -> Float[np.ndarray, " classes"]:
        logits = {
            stream: sweep_video(network, video, roots[stream], [self._num_segments])[
                self._num_segments
            ]
            for stream, network in self.networks.items()
        }
        if self._late_fusion is None:
            [scores] = logits.values()
            return scores
        return FUSION_RULES[self._late_fusion](logits["rgb"], logits["flow"])

    @torch.inference_mode()
    def _evidence(
        self, network: ActionNetwork, video: Video, roots: Mapping[str, Path], class_index: int
    ) -> StreamEvidence:
        spec = network.spec
        num_frames, span = stored_frames(video, spec.stream)
        positions = test_positions(num_frames, self._num_segments, span)
        sizes = {"short_side": spec.short_side, "input_size": spec.input_size}
        clip = load_test_clip(video, spec.stream, roots[spec.stream], positions, **sizes)
        pyramid = network.pyramid(torch.from_numpy(clip).to(network.mean.device))
        evidence = network.head.evidence(pyramid, class_index).cpu().numpy()
        middle = positions if spec.stream == "rgb" else positions + STACK_LENGTH // 2
        pictures = load_test_clip(video, "rgb", roots["rgb"], middle, **sizes)
        return StreamEvidence(pictures.transpose(0, 2, 3, 1), evidence)


def score_videos(
    videos: Sequence[Video],
    *,
    root: Path,
    networks: Mapping[str, Path],
    late_fusion: str | None,
    num_segments: int,
    optical_flow: Mapping[str, Any],
) -> dict[str, Float[np.ndarray, " classes"]]:
    """Load a classifier from its model folders and return each video's scores, by id."""
    classifier = Classifier(
        {stream: load_model(folder) for stream, folder in networks.items()},
        late_fusion=late_fusion,
        num_segments=num_segments,
        optical_flow=optical_flow,
    )
    return {video.video_id: classifier.scores(root / video.path) for video in videos}


def load_stream(folder: Path, num_segments: int, optical_flow: Mapping[str, Any]) -> Predict:
    """Load one network as a function from video files to logits."""
    network = load_model(folder)
    classifier = Classifier(
        {network.spec.stream: network},
        late_fusion=None,
        num_segments=num_segments,
        optical_flow=optical_flow,
    )
    return classifier.scores


def load_fused(
    rgb_folder: Path,
    flow_folder: Path,
    late_fusion: str,
    num_segments: int,
    optical_flow: Mapping[str, Any],
) -> Predict:
    """Load both networks as a function from video files to fused scores."""
    classifier = Classifier(
        {"rgb": load_model(rgb_folder), "flow": load_model(flow_folder)},
        late_fusion=late_fusion,
        num_segments=num_segments,
        optical_flow=optical_flow,
    )
    return classifier.scores
