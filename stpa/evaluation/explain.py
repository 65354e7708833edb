"""Why a video got its answer: what in the frames speaks for a class, and what against it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stpa.evaluation.fusion import FUSED
from stpa.evaluation.judging import judging_of
from stpa.optical_flow.codec import dequantise
from stpa.shapes import Float, Int, UInt8


@dataclass(frozen=True)
class Contrast:
    """What is explained: why one class, and not the runner-up.

    The runner-up is the class that would have been the answer without the winner, so the lead over
    it is what decides. The lead over the mean of all logits would also count what tells the winner
    from classes that nobody takes it for: its map shows mostly what winner and runner-up share.
    With two classes both give the same map. Where classes do not exclude each other, each logit
    decides alone: there is no runner-up.
    """

    winner: int
    runner_up: int | None

    def weights(self, num_classes: int) -> Float[np.ndarray, " classes"]:
        """Return the weight of each logit in what is explained."""
        weights = np.zeros(num_classes, np.float32)
        weights[self.winner] = 1
        if self.runner_up is not None:
            weights[self.runner_up] = -1
        return weights


def best_contrast(scores: Float[np.ndarray, " classes"], multi_label: bool) -> Contrast:
    """Return the contrast of the class with the highest score."""
    winner, *others = np.argsort(-scores, kind="stable").tolist()
    return Contrast(winner, others[0] if others and not multi_label else None)


@dataclass(frozen=True)
class StreamEvidence:
    """What one network saw of a video, what it answered by itself, and what decided."""

    frames: UInt8[np.ndarray, "time height width 3"]
    """The RGB pictures at the positions that the network looked at, in its centre crop."""
    flow: Float[np.ndarray, "time 2 height width"] | None
    """For the flow network, the optical flow there: x to the right and y down, px per frame of the
    stored flow's size."""
    indices: Int[np.ndarray, " time"]
    """The pictures' indices in the video, ascending; they repeat where it has fewer frames."""
    evidence: Float[np.ndarray, "time rows columns"]
    """The part of each position in the contrast's logits (`Head.evidence`): positive for the
    winner, negative for the runner-up."""
    frame_weights: Float[np.ndarray, " time"]
    """The share of each frame in what the head aggregates (`Head.frame_weights`)."""
    logits: Float[np.ndarray, " classes"]
    attention: Float[np.ndarray, "time maps rows columns"] | None = None
    """The weight of each position in each of the head's maps, 1 in sum over a map
    (`attention_shares`); None where the head has no maps."""

    @property
    def has_positions(self) -> bool:
        """Whether the head tells positions within a frame apart; else it weighs whole frames."""
        return self.evidence[0].size > 1

    def distinct(self) -> "StreamEvidence":
        """Return each frame once, with all the evidence and weight of its repetitions."""
        indices, first, copy_of = np.unique(self.indices, return_index=True, return_inverse=True)

        def summed(parts: np.ndarray) -> np.ndarray:
            sums = np.zeros_like(parts[first])
            np.add.at(sums, copy_of, parts)
            return sums

        return StreamEvidence(
            frames=self.frames[first],
            flow=None if self.flow is None else self.flow[first],
            indices=indices,
            evidence=summed(self.evidence),
            frame_weights=summed(self.frame_weights),
            logits=self.logits,
            attention=None if self.attention is None else summed(self.attention),
        )


@dataclass(frozen=True)
class Explanation:
    """The scores of one video, and what of it each stream saw and took for evidence."""

    class_names: tuple[str, ...]
    multi_label: bool
    scores: Float[np.ndarray, " classes"]
    """Those of all streams, fused, or of the only one."""
    contrast: Contrast
    streams: Mapping[str, StreamEvidence]
    fps: float
    """Of the video; zero where its container does not say."""

    @property
    def winner(self) -> str:
        """The name of the best class."""
        return self.class_names[self.contrast.winner]

    @property
    def runner_up(self) -> str | None:
        """The name of the class that the best one is compared with, if there is one."""
        index = self.contrast.runner_up
        return None if index is None else self.class_names[index]

    def probabilities(self) -> dict[str, Float[np.ndarray, " classes"]]:
        """Return the probabilities of all classes by each stream and, of several, fused."""
        logits = {FUSED: self.scores} if len(self.streams) > 1 else {}
        logits |= {stream: seen.logits for stream, seen in self.streams.items()}
        convert = judging_of(self.multi_label).probabilities
        return {stream: convert(each) for stream, each in logits.items()}

    def answer(self) -> Float[np.ndarray, " classes"]:
        """Return the probabilities of all classes that are the answer: the fused ones, if any."""
        return next(iter(self.probabilities().values()))

    def lead(self, stream: str) -> float:
        """Return the contrast of one stream's own logits: the winner's over the runner-up's."""
        logits = self.streams[stream].logits
        return float(logits @ self.contrast.weights(len(logits)))


def unlike_maps(
    attention: Float[np.ndarray, "time maps rows columns"], count: int
) -> Int[np.ndarray, " chosen"]:
    """Choose maps that differ: the most typical one, then the least like those chosen already.

    Maps are alike by the cosine of their weights. All are returned where there are not so many.
    """
    weights = attention.swapaxes(0, 1).reshape(attention.shape[1], -1)
    units = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    cosines = units @ units.T
    chosen = [int(cosines.sum(axis=1).argmax())]
    while len(chosen) < min(count, len(units)):
        likeness = cosines[:, chosen].max(axis=1)
        likeness[chosen] = np.inf
        chosen.append(int(likeness.argmin()))
    return np.array(chosen)


def middle_flow(
    stacks: UInt8[np.ndarray, "time channels height width"], bound_px: float
) -> Float[np.ndarray, "time 2 height width"]:
    """Return the middle frame of each stack of stored flow (channels x y x y ...), in px."""
    middle = stacks.shape[1] // 4 * 2  # the x of a pair
    return dequantise(stacks[:, middle : middle + 2], bound_px)
