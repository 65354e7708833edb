"""What is looked at of a video to measure maps on: frames, their place in time, boxes, motion."""

from dataclasses import dataclass

import numpy as np
import torch

from stpa.data.annotations import Action
from stpa.data.clips import ClipReader, stored_frames
from stpa.data.manifest import Video
from stpa.data.sampling import test_positions
from stpa.data.storage import Storage
from stpa.data.transforms import centre_crop, resize
from stpa.evaluation.explain import middle_flow
from stpa.evaluation.localisation.boxes import boxes_in_crop
from stpa.models.heads import Pyramid
from stpa.models.network import ActionNetwork
from stpa.shapes import Bool, Float, Int, UInt8
from stpa.streams import FLOW


@dataclass(frozen=True)
class Look:
    """One network's pass over the test positions of one video."""

    clip: UInt8[np.ndarray, "time channels side side"]
    """Its centre crop."""
    pyramid: Pyramid
    frames: Int[np.ndarray, " time"]
    """The frames of the video that the positions stand for (`Stream.middle_frames`)."""
    flow: Float[np.ndarray, "time 2 side side"] | None
    """The optical flow at these frames, in the same crop; its unit is the stored bound. None where
    no flow is stored."""
    frame_size: tuple[int, int]
    """Height and width of the video's frames."""
    resized_size: tuple[int, int]
    """Those of what the crop was cut from."""

    @property
    def side(self) -> int:
        """The side of the crop, px."""
        return self.clip.shape[-1]

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """Frames, and the height and width of a map."""
        height, width = self.pyramid[-1].shape[-2:]
        return len(self.frames), height, width

    def in_action(self, action: Action) -> Bool[np.ndarray, " time"]:
        """Return which of the frames are in an action."""
        return action.in_action[self.frames]

    def boxes(self, action: Action) -> Float[np.ndarray, "time 4"] | None:
        """Return the boxes of an action in the crop, if it has some (`boxes_in_crop`)."""
        if action.boxes is None:
            return None
        boxes = action.boxes[self.frames]
        return boxes_in_crop(boxes, self.frame_size, self.resized_size, self.side)


def look_at(
    network: ActionNetwork,
    video: Video,
    storage: Storage,
    flow_storage: Storage | None,
    num_segments: int,
) -> Look:
    """Run the network on the centre crops of a video's test positions.

    `storage` holds the files of the network's stream, `flow_storage` the stored optical flow, if
    there is any.
    """
    spec = network.spec
    num_frames, span = stored_frames(video, spec.stream)
    positions = test_positions(num_frames, num_segments, span)
    frames = spec.stream.middle_frames(positions, video.num_frames)
    resized = ClipReader(spec.stream, storage, spec.short_side).read(video, positions)
    height, width = resized.shape[2:]
    clip = np.ascontiguousarray(centre_crop(resized, spec.input_size))
    stacks = None
    if spec.stream.reads_optical_flow:
        stacks = clip
    elif flow_storage is not None:
        # Stacks around the frames, but for the first and the last ones. Stored flow has other
        # proportions than the video, and is stretched to those of the frames that were seen.
        last_start = max(video.num_frames - 1 - FLOW.span, 0)
        starts = np.clip(frames - FLOW.span // 2, 0, last_start)
        reader = ClipReader(FLOW, flow_storage, spec.short_side)
        stacks = centre_crop(resize(reader.read(video, starts), height, width), spec.input_size)
    return Look(
        clip=clip,
        pyramid=network.pyramid(torch.from_numpy(clip).to(network.mean.device)),
        frames=frames,
        flow=None if stacks is None else middle_flow(stacks, bound_px=1.0),
        frame_size=(video.height, video.width),
        resized_size=(height, width),
    )
