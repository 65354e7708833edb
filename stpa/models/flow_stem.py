"""How a first convolution for RGB frames takes stacks of optical flow."""

from collections.abc import Callable

import torch

from stpa.shapes import Float

OfColours = Float[torch.Tensor, "filters 3 height width"]
OfFlow = Float[torch.Tensor, "filters channels height width"]


def mean_over_colours(kernel: OfColours, num_channels: int) -> OfFlow:
    """Give each channel the mean of the three colours' kernels, not rescaled.

    TSN's cross-modality initialisation (Wang et al., ECCV 2016, section 3.3). It adds x and y up:
    until the kernel is trained, a motion to the left looks like one upwards.
    """
    return kernel.mean(dim=1, keepdim=True).repeat(1, num_channels, 1, 1)


def components_as_colours(kernel: OfColours, num_channels: int) -> OfFlow:
    """Let x pass for red and y for green, each a mean over the stack, and both for blue.

    `num_channels` interleave x and y. A flow that is the same in x and y and at all times so looks
    like a gray frame, one along a single axis is coloured: directions differ from the start, as
    they must where the kernel is never trained. Ours.
    """
    red, green, blue = kernel.unbind(dim=1)
    pair = torch.stack([red + blue / 2, green + blue / 2], dim=1)
    return pair.repeat(1, num_channels // 2, 1, 1) / (num_channels // 2)


FLOW_STEMS: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "mean": mean_over_colours,
    "components": components_as_colours,
}
"""From the kernel for red, green and blue to one for so many channels of flow."""
