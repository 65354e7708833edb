"""Crop, resize and flip a batch of clips at once, on the device it lies on."""

import torch
from einops import rearrange
from torchvision.ops import roi_align

from stpa.shapes import Bool, Int, UInt8
from stpa.streams import Stream


def crop_clips(
    clips: UInt8[torch.Tensor, "clips time channels height width"],
    boxes: Int[torch.Tensor, "clips 4"],
    mirrored: Bool[torch.Tensor, " clips"],
    size: int,
    stream: Stream,
) -> UInt8[torch.Tensor, "clips time channels {size} {size}"]:
    """Cut each clip's box (top, left, height, width; px) out, resized to a square of `size` px.

    As `transforms` does it for one clip on a CPU, to a few levels: where it shrinks, an output
    pixel is the mean of some samples rather than of an area. Channels that count motion
    to the right change their sign in a mirror.
    """
    top, left, height, width = boxes.float().unbind(dim=1)
    corners = torch.stack([left, top, left + width, top + height], dim=1)
    planes = rearrange(clips, "clips time channels h w -> clips (time channels) h w").float()
    cut = roi_align(planes, list(corners[:, None]), size, aligned=True)
    cut = cut.round().to(torch.uint8).unflatten(1, clips.shape[1:3])
    flipped = cut.flip(-1)
    if channels := list(stream.rightward_channels):
        flipped[:, :, channels] = 255 - flipped[:, :, channels]
    return torch.where(mirrored[:, None, None, None, None], flipped, cut)
