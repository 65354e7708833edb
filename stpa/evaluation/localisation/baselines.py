"""Maps that know nothing of the network, which every other map is compared with."""

import numpy as np

from stpa.evaluation.localisation.cells import cell_means
from stpa.shapes import Float

CENTRE_DEVIATION = 0.25
"""Standard deviation of `centre_maps`, as a share of the side."""

Maps = Float[np.ndarray, "time height width"]


def uniform_maps(shape: tuple[int, int, int]) -> Maps:
    """Return an even map for each frame."""
    return np.ones(shape)


def random_maps(shape: tuple[int, int, int], rng: np.random.Generator) -> Maps:
    """Return cells that are drawn evenly from [0, 1), each by itself."""
    return rng.random(shape)


def centre_maps(shape: tuple[int, int, int]) -> Maps:
    """Return for each frame a Gaussian in the middle, taken at the centres of the cells."""
    num_frames, *size = shape
    rows, columns = (
        np.exp(-(((np.arange(n) + 0.5) / n - 0.5) ** 2) / (2 * CENTRE_DEVIATION**2)) for n in size
    )
    return np.broadcast_to(rows[:, None] * columns, (num_frames, *size)).copy()


def flow_maps(
    flow: Float[np.ndarray, "time 2 side side"], height: int, width: int
) -> Float[np.ndarray, "time {height} {width}"]:
    """Return the mean length of the optical flow in each cell; its unit does not matter."""
    return cell_means(np.hypot(flow[:, 0], flow[:, 1]), height, width)
