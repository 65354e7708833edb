"""TSN's formulas (Wang et al., ECCV 2016, and its published solvers), one number at a time.

Written from the description of the protocol alone, to judge the package's array code.
"""

from fractions import Fraction

FLOW_BOUND_PX = 20
STACK_LENGTH = 5


def quantised_flow(displacement_px: float) -> int:
    """Return round(255 (v + 20) / 40), computed exactly, clipped to 8 bit; ties go to even."""
    level = round(Fraction(255) * (Fraction(displacement_px) + FLOW_BOUND_PX) / 40)
    return min(max(level, 0), 255)


def train_ranges(num_frames: int, num_segments: int, span: int) -> list[range]:
    """Return where each segment's position is drawn: i*avg + random(avg), avg = (N-L+1) // S.

    Defined where avg is not 0.
    """
    average = (num_frames - span + 1) // num_segments
    return [range(i * average, i * average + average) for i in range(num_segments)]


def test_positions(num_frames: int, num_segments: int, span: int) -> list[int]:
    """Return int(tick/2 + tick*i) of every segment, tick = (N-L+1) / S."""
    tick = (num_frames - span + 1) / num_segments
    return [int(tick / 2 + tick * i) for i in range(num_segments)]


def cross_modality_kernel(kernel: list[float], num_channels: int) -> list[float]:
    """Return the weights over flow's channels, of the weights over R, G, B at the same place."""
    red, green, blue = kernel
    return [(red + green + blue) / 3] * num_channels


def crop_places(height: int, width: int, crop_height: int, crop_width: int) -> set[tuple[int, int]]:
    """Return the (top, left) of the 13 fixed crops, in whole steps of a quarter of the free px."""
    h, w = (height - crop_height) // 4, (width - crop_width) // 4
    corners = {(0, 0), (0, 4 * w), (4 * h, 0), (4 * h, 4 * w)}
    centre = {(2 * h, 2 * w)}
    edges = {(0, 2 * w), (4 * h, 2 * w), (2 * h, 0), (2 * h, 4 * w)}
    between = {(h, w), (h, 3 * w), (3 * h, w), (3 * h, 3 * w)}
    return corners | centre | edges | between
