"""Cells of a map and pixels of the crop that the map lies on.

A map of h x w cells divides the square crop evenly. Lengths are in px of the crop, from its left
and upper edge, so that pixel i covers [i, i + 1].
"""

import numpy as np

from stpa.shapes import Float


def covered_shares(
    box: Float[np.ndarray, "4"], height: int, width: int, side: int
) -> Float[np.ndarray, "{height} {width}"]:
    """Return the share of each cell that lies within a box (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    rows, columns = _covered(y0, y1, height, side), _covered(x0, x1, width, side)
    return rows[:, None] * columns


def upsample(
    cells: Float[np.ndarray, "height width"], side: int
) -> Float[np.ndarray, "{side} {side}"]:
    """Interpolate between the centres of cells, bilinearly; beyond the outer ones nothing changes.

    As `torch.nn.functional.interpolate` with align_corners=False, in float64: pixels that the
    formula makes equal are equal here.
    """
    rows, columns = (_interpolation(size, side) for size in cells.shape)
    return rows @ cells.astype(np.float64) @ columns.T


def cell_means(
    pictures: Float[np.ndarray, "*pictures side side"], height: int, width: int
) -> Float[np.ndarray, "*pictures {height} {width}"]:
    """Return the mean of the pixels of each cell; a pixel on a border counts by its parts."""
    side = pictures.shape[-1]
    rows, columns = _pixel_parts(height, side), _pixel_parts(width, side)
    return rows @ pictures.astype(np.float64) @ columns.T


def _covered(start: float, end: float, num_cells: int, side: int) -> Float[np.ndarray, " cells"]:
    edges = np.arange(num_cells + 1) * (side / num_cells)
    lengths = np.minimum(end, edges[1:]) - np.maximum(start, edges[:-1])
    return np.clip(lengths, 0, None) * (num_cells / side)


def _interpolation(num_cells: int, side: int) -> Float[np.ndarray, "side cells"]:
    """Return the weight of each cell in each pixel, along one axis."""
    # A pixel's centre, in cells from the centre of the first one.
    at = np.clip((np.arange(side) + 0.5) * (num_cells / side) - 0.5, 0, num_cells - 1)
    distance = np.abs(at[:, None] - np.arange(num_cells))
    return np.clip(1 - distance, 0, None)


def _pixel_parts(num_cells: int, side: int) -> Float[np.ndarray, "cells side"]:
    """Return the share of each cell that is each pixel's, along one axis."""
    size = side / num_cells
    starts = np.arange(num_cells)[:, None] * size
    pixels = np.arange(side)
    lengths = np.minimum(starts + size, pixels + 1) - np.maximum(starts, pixels)
    return np.clip(lengths, 0, None) / size
