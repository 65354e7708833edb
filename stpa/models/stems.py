"""How a first convolution for RGB frames takes what other streams have."""

from collections.abc import Callable

import torch

from stpa.shapes import Float
from stpa.streams import Stream

OfColours = Float[torch.Tensor, "filters 3 height width"]
OfOthers = Float[torch.Tensor, "filters channels height width"]


def mean_over_colours(kernel: OfColours, num_channels: int) -> OfOthers:
    """Give each channel the mean of the three colours' kernels, not rescaled.

    TSN's cross-modality initialisation (Wang et al., ECCV 2016, section 3.3). It adds x and y up:
    until the kernel is trained, a motion to the left looks like one upwards.
    """
    return kernel.mean(dim=1, keepdim=True).repeat(1, num_channels, 1, 1)


def components_as_colours(kernel: OfColours, num_channels: int) -> OfOthers:
    """Let x pass for red and y for green, each a mean over the stack, and both for blue.

    `num_channels` interleave x and y. A flow that is the same in x and y and at all times so looks
    like a gray frame, one along a single axis is coloured: directions differ from the start, as
    they must where the kernel is never trained. Ours.
    """
    red, green, blue = kernel.unbind(dim=1)
    pair = torch.stack([red + blue / 2, green + blue / 2], dim=1)
    return pair.repeat(1, num_channels // 2, 1, 1) / (num_channels // 2)


def repeated_colours(kernel: OfColours, num_channels: int) -> OfOthers:
    """Give each frame in a row the kernel of single frames, of which they have the mean."""
    num_frames = num_channels // kernel.shape[1]
    return kernel.repeat(1, num_frames, 1, 1) / num_frames


AdaptStem = Callable[[torch.Tensor, int], torch.Tensor]
"""From the kernel for red, green and blue to one for so many channels."""

FLOW_STEMS: dict[str, AdaptStem] = {
    "mean": mean_over_colours,
    "components": components_as_colours,
}
"""For optical flow, to choose from (`model.flow_stem`)."""


def stem_for(stream: Stream, flow_stem: str) -> AdaptStem:
    """Return what makes a kernel for a stream's channels; `flow_stem` is for optical flow."""
    return repeated_colours if stream.is_coloured else FLOW_STEMS[flow_stem]
