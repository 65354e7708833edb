"""Optical flow as colours: the direction is the hue, the speed the saturation."""

from typing import NamedTuple

import numpy as np

from stpa.shapes import Float, UInt8

LEAST_FULL_SPEED_PX = 1.0
"""Slower motion is pale, and so are the steps of stored flow: 0.16 px at a bound of 20."""
_FAST_PERCENTILE = 99
"""Of the speeds: a few outliers do not fade all else."""


class ColouredFlow(NamedTuple):
    """Pictures of optical flow, and the wheel that explains their colours."""

    pictures: UInt8[np.ndarray, "time height width 3"]
    wheel: UInt8[np.ndarray, "height width 3"]
    """Each position on the disc has the colour of a motion from the centre to there."""
    full_speed_px: float
    """Speed at the rim of the wheel, px per frame; faster motion has the same colour."""


def colour_flow(flow: Float[np.ndarray, "time 2 height width"]) -> ColouredFlow:
    """Colour flow (x to the right, y down, px per frame) as Baker et al. do (IJCV 2011)."""
    import torch
    from torchvision.utils import flow_to_image  # slow to import

    speed = np.hypot(flow[:, 0], flow[:, 1])
    full = max(float(np.percentile(speed, _FAST_PERCENTILE)), LEAST_FULL_SPEED_PX)
    capped = flow * (full / np.maximum(speed, full))[:, None]
    # One call for both: it scales by the fastest motion, which is now that of the wheel's rim.
    together = np.concatenate([capped, full * _disc(*flow.shape[2:])[None]])
    colours = flow_to_image(torch.from_numpy(together).float()).permute(0, 2, 3, 1).numpy()
    return ColouredFlow(colours[:-1], colours[-1], full)


def _disc(height: int, width: int) -> Float[np.ndarray, "2 height width"]:
    """Return motion away from the centre, of speed 1 at the rim and 0 outside."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([x, y]) * (np.hypot(x, y) <= 1)
