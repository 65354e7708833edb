"""TV-L1 optical flow as its papers print it, one pixel at a time, in float64.

Zach, Pock, Bischof (DAGM 2007), by the steps of Sanchez, Meinhardt-Llopis, Facciolo (IPOL 2013);
warping and stopping as in OpenCV. Written from those descriptions, to judge the package's batches.
"""

import math
from collections.abc import Callable

import numpy as np

TAU, WEIGHT, THETA, TOLERANCE = 0.25, 0.15, 0.3, 0.01

Image = np.ndarray
"""[height, width]"""


def at_edge(image: Image, row: int, column: int) -> float:
    """Return the nearest pixel of the image."""
    height, width = image.shape
    return image[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]


def zero_outside(image: Image, row: int, column: int) -> float:
    """Return a pixel, or zero beyond the borders."""
    height, width = image.shape
    return image[row, column] if 0 <= row < height and 0 <= column < width else 0.0


def cubic(distance: float, a: float) -> float:
    """Return Keys' kernel."""
    t = abs(distance)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    if t < 2:
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return 0.0


def sample(
    image: Image, y: float, x: float, a: float, pixel: Callable[[Image, int, int], float]
) -> float:
    """Interpolate at a place between pixels."""
    rows = range(math.floor(y) - 1, math.floor(y) + 3)
    columns = range(math.floor(x) - 1, math.floor(x) + 3)
    return sum(
        cubic(y - row, a) * cubic(x - column, a) * pixel(image, row, column)
        for row in rows
        for column in columns
    )


def refine(
    first: Image,
    second: Image,
    flow: tuple[Image, Image],
    *,
    num_warps: int,
    max_iterations: int,
    median_every: int | None,
    a: float,
    pixel: Callable[[Image, int, int], float],
) -> tuple[Image, Image]:
    """Solve one scale from `flow` on."""
    height, width = first.shape
    places = [(row, column) for row in range(height) for column in range(width)]
    u = [component.copy() for component in flow]
    p = [[np.zeros(first.shape) for _ in "xy"] for _ in "uv"]
    second_x, second_y = np.zeros(first.shape), np.zeros(first.shape)
    for i, j in places:
        second_x[i, j] = (at_edge(second, i, j + 1) - at_edge(second, i, j - 1)) / 2
        second_y[i, j] = (at_edge(second, i + 1, j) - at_edge(second, i - 1, j)) / 2
    for _ in range(num_warps):
        warped, gx, gy = (np.zeros(first.shape) for _ in range(3))
        for i, j in places:
            y, x = i + u[1][i, j], j + u[0][i, j]
            warped[i, j] = sample(second, y, x, a, pixel)
            gx[i, j] = sample(second_x, y, x, a, pixel)
            gy[i, j] = sample(second_y, y, x, a, pixel)
        start = [component.copy() for component in u]
        for iteration in range(max_iterations):
            if median_every and iteration % median_every == 0:
                u = [median(component) for component in u]
            before = [component.copy() for component in u]
            for i, j in places:
                squared = gx[i, j] ** 2 + gy[i, j] ** 2
                rho = (
                    warped[i, j]
                    + gx[i, j] * (before[0][i, j] - start[0][i, j])
                    + gy[i, j] * (before[1][i, j] - start[1][i, j])
                    - first[i, j]
                )
                if rho < -WEIGHT * THETA * squared:
                    pull = WEIGHT * THETA
                elif rho > WEIGHT * THETA * squared:
                    pull = -WEIGHT * THETA
                else:
                    pull = -rho / squared if squared > 1e-12 else 0.0
                for k, g in enumerate((gx, gy)):
                    v = before[k][i, j] + pull * g[i, j]
                    u[k][i, j] = v + THETA * divergence(p[k], i, j)
            for k in range(2):
                for i, j in places:
                    ux = u[k][i, j + 1] - u[k][i, j] if j + 1 < width else 0.0
                    uy = u[k][i + 1, j] - u[k][i, j] if i + 1 < height else 0.0
                    scale = 1 + TAU / THETA * math.hypot(ux, uy)
                    p[k][0][i, j] = (p[k][0][i, j] + TAU / THETA * ux) / scale
                    p[k][1][i, j] = (p[k][1][i, j] + TAU / THETA * uy) / scale
            change = sum(((after - old) ** 2).sum() for after, old in zip(u, before, strict=True))
            if change / (height * width) <= TOLERANCE**2:
                break
    return u[0], u[1]


def divergence(p: list[Image], i: int, j: int) -> float:
    """Return the backward differences of (p_x, p_y); what lies before the borders is zero."""
    along_x = p[0][i, j] - (p[0][i, j - 1] if j else 0.0)
    along_y = p[1][i, j] - (p[1][i - 1, j] if i else 0.0)
    return along_x + along_y


def median(image: Image) -> Image:
    """Return the median of the 5 x 5 about each pixel, borders repeated."""
    result = np.zeros(image.shape)
    for i, j in np.ndindex(*image.shape):
        around = [at_edge(image, i + di, j + dj) for di in range(-2, 3) for dj in range(-2, 3)]
        result[i, j] = sorted(around)[12]
    return result
