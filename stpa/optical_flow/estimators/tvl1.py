"""TV-L1 optical flow, whole batches of pairs at a time, in PyTorch.

The flow u between two images minimises the total variation of u plus lambda times the absolute
difference between the first image and the warped second one (Zach, Pock, Bischof, DAGM 2007;
the steps are those of Sanchez, Meinhardt-Llopis, Facciolo, IPOL 2013). An auxiliary flow v,
tied to u by theta, splits each step in two: v by thresholding the linearised residual at each
pixel, u by one step of Chambolle's dual variables p. Images run from coarse to fine, and the
second one is warped anew several times on each scale.

The result is part of the data that networks learn from, so `Tvl1Options` holds every choice
that implementations differ in.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch.nn import functional as F
from torch.utils._triton import has_triton

from stpa.optical_flow.estimators import base
from stpa.shapes import Bool, Float

SMALLEST_SIDE = 16
"""Of a scale, px: coarser ones are left out."""

LOOK_EVERY = {"cpu": 1, "cuda": 10}
"""Iterations between two looks at whether all have converged: there the host waits for a GPU."""

Images = Float[torch.Tensor, "pairs height width"]
Flows = Float[torch.Tensor, "pairs 2 height width"]


@dataclass(frozen=True)
class Tvl1Options:
    """One implementation's choices; grey levels are 0-255, lengths in px."""

    pyramid: Literal["gaussian", "linear"]
    """Scales made by a Gaussian and halving, or by linear interpolation at 0.8."""
    median_every: int | None
    """Iterations between two 5 x 5 median filterings of the flow; None leaves it as it is."""
    cubic: float
    """The bicubic kernel's slope at distance 1, by which the second image is warped."""
    border: Literal["replicate", "zero"]
    """What lies outside the second image."""
    num_scales: int = 5
    num_warps: int = 5
    max_iterations: int = 300
    """For each warp."""
    tolerance: float = 0.01
    """Root mean square change of a pair's flow in one iteration at which these end."""
    tau: float = 0.25
    """Step of the dual variables."""
    attachment: float = 0.15
    """Weight of the images' difference, lambda."""
    theta: float = 0.3
    """Tightness of the tie between u and v."""


OPENCV_GPU = Tvl1Options(pyramid="gaussian", median_every=None, cubic=-0.5, border="replicate")
"""OpenCV 2.4's GPU module, by which the published flow of TSN (Wang et al., ECCV 2016) was made."""

OPENCV_CPU = Tvl1Options(pyramid="linear", median_every=30, cubic=-0.75, border="zero")
"""OpenCV's `DualTVL1OpticalFlow`: 10 median filterings, each before 30 iterations, at most."""


PARAMETERS = {"opencv_gpu": OPENCV_GPU, "opencv_cpu": OPENCV_CPU}


def estimator(parameters: str = "opencv_gpu") -> base.Estimator:
    """Return TV-L1 with a set of `PARAMETERS`, on the GPU where there is one."""
    if parameters not in PARAMETERS:
        raise ValueError(f"parameters {parameters!r} is unknown: choose from {[*PARAMETERS]}")
    device = "cuda" if torch.cuda.is_available() else "cpu"

    @torch.inference_mode()
    def estimate(frames: base.Frames) -> base.Flows:
        gray = torch.from_numpy(base.to_gray(frames)).to(device, torch.float32)
        # A pair's maps fit in a processor's cache; a batch's would not.
        size = 1 if device == "cpu" else len(gray)
        pairs = zip(gray[:-1].split(size), gray[1:].split(size), strict=True)
        flows = [tvl1_flow(first, second, PARAMETERS[parameters]) for first, second in pairs]
        return torch.cat(flows).cpu().numpy()

    return estimate


def tvl1_flow(first: Images, second: Images, options: Tvl1Options) -> Flows:
    """Return the flow (x, y) from each first image to its second, in px; grey levels are 0-255.

    What one pair's flow is does not depend on the others in the batch.
    """
    scales = [(first, second)]
    while len(scales) < options.num_scales:
        smaller = [_smaller(images, options.pyramid) for images in scales[-1]]
        if min(smaller[0].shape[-2:]) < SMALLEST_SIDE:
            break
        scales.append((smaller[0], smaller[1]))
    flow = first.new_zeros(len(first), 2, *scales[-1][0].shape[-2:])
    for first, second in reversed(scales):
        if flow.shape[-2:] != first.shape[-2:]:
            flow = _larger(flow, first.shape[-2:], options.pyramid)
        flow = _refine(first, second, flow, options)
    return flow


def _refine(first: Images, second: Images, flow: Flows, options: Tvl1Options) -> Flows:
    """Solve one scale."""
    images = torch.stack([second, *_centred_gradient(second)], dim=1)
    dual = flow.new_zeros(len(flow), 2, 2, *flow.shape[-2:])
    warp = _fastest(_warp, flow)
    for _ in range(options.num_warps):
        warped = warp(images, flow, options.cubic, options.border)
        gradient = warped[:, 1:]
        residual = warped[:, 0] - (gradient * flow).sum(dim=1) - first
        flow, dual = _minimise(flow, dual, gradient, residual, options)
    return flow


def _minimise(
    flow: Flows, dual: torch.Tensor, gradient: Flows, residual: Images, options: Tvl1Options
) -> tuple[Flows, torch.Tensor]:
    """Iterate until each pair has converged."""
    energy = gradient.square().sum(dim=1).clamp_min(torch.finfo(flow.dtype).eps)
    step, smooth = _fastest(_step, flow), _fastest(median_filter, flow)
    look_every = LOOK_EVERY[flow.device.type]
    # A lone pair that is looked at after each iteration ends with the loop: nothing to hold.
    ends_with_loop = len(flow) == look_every == 1
    moving = None if ends_with_loop else flow.new_ones(len(flow), dtype=torch.bool)
    for iteration in range(options.max_iterations):
        if options.median_every and iteration % options.median_every == 0:
            flow = _while(moving, smooth(flow), flow)
        flow, dual, going = step(flow, dual, moving, gradient, residual, energy, options)
        if (iteration + 1) % look_every == 0 and not going.any():
            break
        moving = None if ends_with_loop else going
    return flow, dual


def _fastest(function: Callable[..., Any], flow: Flows) -> Callable[..., Any]:
    return _fused(function) if flow.is_cuda else function


@cache
def _fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` as a few GPU kernels; as it is where there is no compiler for them."""
    if has_triton() and any(map(shutil.which, (os.environ.get("CC", "gcc"), "clang"))):
        return torch.compile(function, dynamic=True)
    return function


def _step(
    flow: Flows,
    dual: torch.Tensor,
    moving: Bool[torch.Tensor, " pairs"] | None,
    gradient: Flows,
    residual: Images,
    energy: Images,
    options: Tvl1Options,
) -> tuple[Flows, torch.Tensor, Bool[torch.Tensor, " pairs"]]:
    """Take one step of the pairs that are still `moving`, or of all, and say which go on."""
    # The three cases of the thresholding (IPOL 2013, eq. 18) are one clamped quotient.
    difference = residual + (gradient * flow).sum(dim=1)
    limit = options.attachment * options.theta
    pull = (-difference / energy).clamp(-limit, limit).unsqueeze(1)
    new_flow = flow + pull * gradient + options.theta * _divergence(dual)
    slopes = _forward_gradient(new_flow)
    steepness = slopes.square().sum(dim=2, keepdim=True).sqrt()
    step = options.tau / options.theta
    new_dual = (dual + step * slopes) / (1 + step * steepness)
    change = (new_flow - flow).square().mean(dim=(2, 3)).sum(dim=1)
    going = change > options.tolerance**2
    if moving is not None:
        going = moving & going
    return _while(moving, new_flow, flow), _while(moving, new_dual, dual), going


def _while(
    moving: Bool[torch.Tensor, " pairs"] | None, after: torch.Tensor, before: torch.Tensor
) -> torch.Tensor:
    """Leave converged pairs as they are."""
    if moving is None:
        return after
    return torch.where(moving.view(-1, *[1] * (after.ndim - 1)), after, before)


def _centred_gradient(images: Images) -> tuple[Images, Images]:
    """Return the central differences along x and y, of neighbours repeated at the borders."""
    padded = F.pad(images.unsqueeze(1), (1, 1, 1, 1), mode="replicate").squeeze(1)
    along_x = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    along_y = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    return along_x / 2, along_y / 2


def _forward_gradient(flow: Flows) -> torch.Tensor:
    """Return [pairs, 2, (x, y), height, width]: differences to the next pixel, 0 at the last."""
    along_x = F.pad(flow[..., 1:] - flow[..., :-1], (0, 1))
    along_y = F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1))
    return torch.stack([along_x, along_y], dim=2)


def _divergence(dual: torch.Tensor) -> Flows:
    """Return the negative adjoint of `_forward_gradient`, of dual variables that end in 0."""
    along_x, along_y = dual.unbind(dim=2)
    return (along_x - F.pad(along_x[..., :-1], (1, 0))) + (
        along_y - F.pad(along_y[..., :-1, :], (0, 0, 1, 0))
    )


def _warp(
    images: torch.Tensor, flow: Flows, cubic: float, border: str
) -> Float[torch.Tensor, "pairs channels height width"]:
    """Sample `images` bicubically at each pixel moved by `flow`."""
    height, width = images.shape[-2:]
    y = torch.arange(height, dtype=flow.dtype, device=flow.device).unsqueeze(1) + flow[:, 1]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device) + flow[:, 0]
    rows, columns = (_taps(y, height, cubic, border), _taps(x, width, cubic, border))
    flat = images.flatten(2)
    total = torch.zeros_like(images)
    for row, row_weight in rows:
        for column, column_weight in columns:
            places = (row * width + column).flatten(1).unsqueeze(1).expand(-1, flat.shape[1], -1)
            values = flat.gather(2, places).view_as(images)
            total = total + values * (row_weight * column_weight).unsqueeze(1)
    return total


def _taps(
    places: torch.Tensor, size: int, cubic: float, border: str
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the indices of the four pixels about each place along one axis, and their weights."""
    first = places.floor()
    t = places - first
    taps = []
    for offset in (-1, 0, 1, 2):
        index = first + offset
        weight = _cubic_kernel((t - offset).abs(), cubic)
        if border == "zero":
            weight = weight * ((index >= 0) & (index < size))
        taps.append((index.clamp(0, size - 1).long(), weight))
    return taps


def _cubic_kernel(distance: torch.Tensor, cubic: float) -> torch.Tensor:
    """Weigh a pixel at `distance` 0-2 (Keys, IEEE Trans. ASSP 1981)."""
    near = ((cubic + 2) * distance - (cubic + 3)) * distance**2 + 1
    far = ((cubic * distance - 5 * cubic) * distance + 8 * cubic) * distance - 4 * cubic
    return torch.where(distance <= 1, near, far)


def median_filter(flow: Flows) -> Flows:
    """Replace each value by the median of the 5 x 5 about it; borders are repeated.

    Sorted columns, then sorted rows, leave 13 of the 25 that can be the median, with as many
    below them as above.
    """
    height, width = flow.shape[-2:]
    padded = F.pad(flow, (2, 2, 2, 2), mode="replicate")
    columns = _sorted([padded[..., y : y + height, :] for y in range(5)])
    rows = [_sorted([column[..., x : x + width] for x in range(5)]) for column in columns]
    left = [
        rows[i][j]
        for i in range(5)
        for j in range(5)
        if (i + 1) * (j + 1) <= 13 and (5 - i) * (5 - j) <= 13
    ]
    # Of any 8 of 13, neither the least nor the greatest is the median.
    window, waiting = left[:8], left[8:]
    while len(window) > 1:
        window = _without_extremes(window) + waiting[:1]
        waiting = waiting[1:]
    return window[0]


def _sorted(values: list[torch.Tensor]) -> list[torch.Tensor]:
    """Sort at each place, by exchanging neighbours."""
    values = list(values)
    for end in range(len(values) - 1, 0, -1):
        for i in range(end):
            values[i], values[i + 1] = _in_order(values[i], values[i + 1])
    return values


def _without_extremes(values: list[torch.Tensor]) -> list[torch.Tensor]:
    """Leave out the least and the greatest at each place."""
    values = list(values)
    for i in range(len(values) - 1):
        values[i], values[i + 1] = _in_order(values[i], values[i + 1])
    for i in range(len(values) - 2, 0, -1):
        values[i - 1], values[i] = _in_order(values[i - 1], values[i])
    return values[1:-1]


def _in_order(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.minimum(first, second), torch.maximum(first, second)


def _smaller(
    images: Images, pyramid: str
) -> Float[torch.Tensor, "pairs smaller_height smaller_width"]:
    """Make the next coarser scale."""
    height, width = images.shape[-2:]
    if pyramid == "gaussian":
        matrices = [_halving(size) for size in (height, width)]
    else:
        matrices = [_interpolation(size, round(0.8 * size), 1 / 0.8) for size in (height, width)]
    return _apply(images, *matrices)


def _larger(
    flow: Flows, size: torch.Size, pyramid: str
) -> Float[torch.Tensor, "pairs 2 larger_height larger_width"]:
    """Bring the flow to the next finer scale, whose pixels are smaller."""
    if pyramid == "gaussian":
        matrices = [
            _interpolation(old, new, old / new, centred=False)
            for old, new in zip(flow.shape[-2:], size, strict=True)
        ]
        return 2 * _apply(flow, *matrices)
    matrices = [
        _interpolation(old, new, old / new) for old, new in zip(flow.shape[-2:], size, strict=True)
    ]
    return _apply(flow, *matrices) / 0.8


def _apply(maps: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    return rows.to(maps) @ maps @ columns.to(maps).T


@cache
def _halving(size: int) -> Float[torch.Tensor, "new old"]:
    """Return the matrix that takes every second pixel, smoothed by (1 4 6 4 1) / 16.

    Beyond a border the pixels return without it: of a b c, b a b c b.
    """
    matrix = torch.zeros((size + 1) // 2, size, dtype=torch.float64)
    for new in range(len(matrix)):
        for offset, weight in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
            old = abs(2 * new + offset)
            matrix[new, min(old, 2 * (size - 1) - old)] += weight / 16
    return matrix


@cache
def _interpolation(
    old_size: int, new_size: int, scale: float, *, centred: bool = True
) -> Float[torch.Tensor, "new old"]:
    """Return the matrix of linear interpolation, `scale` old pixels to a new one.

    Pixels are aligned by their centres, or, as OpenCV's GPU module has it, by their corners.
    """
    places = torch.arange(new_size, dtype=torch.float64)
    places = (places + 0.5) * scale - 0.5 if centred else places * scale
    places = places.clamp(0, old_size - 1)
    low = places.floor().long()
    high = (low + 1).clamp_max(old_size - 1)
    share = places - low
    matrix = torch.zeros(new_size, old_size, dtype=torch.float64)
    every = torch.arange(new_size)
    matrix.index_put_((every, low), 1 - share, accumulate=True)
    matrix.index_put_((every, high), share, accumulate=True)
    return matrix
