"""The paper's equations 1-9 for one clip, in float64 and as plainly as printed.

Written from the paper alone, to judge the package's layer and losses: values by these functions,
gradients by autograd through them. Positions are ordered frame by frame, then row by row. Nothing
is stabilised: exp overflows past scores of 700.
"""

import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

LARGEST_SCORE = 30.0


@dataclass(frozen=True)
class Clip:
    """A clip's pyramid, bottom to top, and the layer's weights; P = frames * rows * columns."""

    maps: tuple[Tensor, ...]
    """F_j of each scale, [K, C_j, H_j, W_j]."""
    weights: tuple[Tensor, ...]
    """W_attn_j of each scale, [d, C_j]."""
    biases: tuple[Tensor, ...]
    """b_attn_j of each scale, [d]."""
    fusion: str
    """"maximum", "sum" or "product": the fusion function of eq. 3."""
    downsampling: str
    """"max" or "average": the down-sampling function of eq. 1."""
    score_norm: str = "none"
    """"rms": eq. 2 takes features over the root mean square of their norms in each frame."""
    aggregate: str = "maps"
    """"features": X of eq. 4 and 6 is what `behind` makes of each position's features."""

    def __repr__(self) -> str:
        """Return what tells it from others: numbers by the hundred would hide a failure's words."""
        shapes = [tuple(maps.shape) for maps in self.maps]
        kind = f"{len(self.biases[0])} maps, {self.fusion}, {self.downsampling}, {self.score_norm}"
        kind += f", {self.aggregate}"
        return f"Clip({shapes}, {kind})"

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """All that gradients are taken of."""
        return (*self.maps, *self.weights, *self.biases)


def window(index: int, num_in: int, num_out: int) -> slice:
    """Return which of `num_in` rows make row `index` of `num_out` in adaptive pooling."""
    return slice(math.floor(index * num_in / num_out), math.ceil((index + 1) * num_in / num_out))


def downsample(maps: Tensor, height: int, width: int, downsampling: str) -> Tensor:
    """Eq. 1: pool [K, C, H_j, W_j] to [K, C, height, width]."""
    pool = {"max": torch.amax, "average": torch.mean}[downsampling]
    rows = []
    for row in range(height):
        cells = []
        for column in range(width):
            vertical = window(row, maps.shape[2], height)
            horizontal = window(column, maps.shape[3], width)
            cells.append(pool(maps[:, :, vertical, horizontal], dim=(2, 3)))
        rows.append(torch.stack(cells, dim=-1))
    return torch.stack(rows, dim=-2)


def features(clip: Clip) -> list[Tensor]:
    """Return X_j of each scale, [P, C_j] (eq. 1, section 3.2)."""
    *lower, top = clip.maps
    height, width = top.shape[2:]
    pyramid = [downsample(maps, height, width, clip.downsampling) for maps in lower] + [top]
    return [maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]) for maps in pyramid]


def behind(maps: Tensor) -> Tensor:
    """Return what layers behind the top map make of positions: a bend, for one."""
    return torch.tanh(maps)


def values(clip: Clip) -> Tensor:
    """Return what eq. 4 sums up, [P, C]."""
    top = features(clip)[-1]
    return behind(top) if clip.aggregate == "features" else top


def scored(x: Tensor, num_frames: int) -> Tensor:
    """Return [P, C] features over each frame's root mean square norm."""
    frames = []
    for frame in x.reshape(num_frames, -1, x.shape[1]):
        norms = torch.stack([torch.sqrt((position * position).sum()) for position in frame])
        frames.append(frame / torch.sqrt((norms * norms).mean()))
    return torch.cat(frames)


def deviation(position: Tensor) -> Tensor:
    """A position's features about their mean over channels, over the norm of these differences.

    Differences whose squares come to less than 1e-6, such as a single channel's, which are 0, are
    divided by the root of that.
    """
    differences = position - position.sum() / len(position)
    squares = (differences * differences).sum()
    return differences / torch.sqrt(torch.clamp(squares, min=1e-6))


def scores(clip: Clip) -> list[Tensor]:
    """Eq. 2: Y_j of each scale, [d, P]."""
    x_of = features(clip)
    if clip.score_norm == "rms":
        x_of = [scored(x, len(clip.maps[-1])) for x in x_of]
    if clip.score_norm == "layer":
        x_of = [torch.stack([deviation(position) for position in x]) for x in x_of]
    return [
        weight @ x.T + bias[:, None]
        for weight, bias, x in zip(clip.weights, clip.biases, x_of, strict=True)
    ]


def softmax(y: Tensor) -> Tensor:
    """Normalise each row over all positions of all frames, to a sum of 1."""
    return torch.exp(y) / torch.exp(y).sum(dim=1, keepdim=True)


def fused_scores(clip: Clip) -> Tensor:
    """Return the argument of eq. 3's softmax, [d, P]."""
    fuse = {"maximum": torch.maximum, "sum": torch.add, "product": torch.mul}[clip.fusion]
    fused, *rest = scores(clip)
    for y in rest:
        fused = fuse(fused, y)
    return fused


def unit_sum_attention(clip: Clip) -> Tensor:
    """Eq. 3 before the L2 normalisation, [d, P]: rows sum to 1."""
    return softmax(fused_scores(clip))


def attention(clip: Clip) -> Tensor:
    """Eq. 3 and the L2 normalisation after it: A, [d, P], a_m . a_m = 1."""
    a = unit_sum_attention(clip)
    return a / torch.sqrt((a * a).sum(dim=1, keepdim=True))


def attended(clip: Clip) -> Tensor:
    """Eq. 4: M = A X, [d, C]."""
    return attention(clip) @ values(clip)


def interactive_loss(clip: Clip) -> Tensor:
    """Eq. 6, as printed."""
    a, x = attention(clip), values(clip)
    identity = torch.eye(len(a), dtype=a.dtype)
    captured = (a @ x @ x.T @ a.T) * identity
    overlap = (a @ a.T) * (1 - identity)
    return -captured.sum() + (overlap**2).sum()


def attention_loss(clip: Clip) -> Tensor:
    """Eq. 7 and 8, as printed: a is L2-normalised (section 3.1), softmax(y^j) is not."""
    a = attention(clip)
    total = torch.zeros((), dtype=a.dtype)
    for y in scores(clip):
        delta = torch.abs(a - softmax(y))
        total = total + (1 - delta**2).sum()
    return torch.sqrt(total)


def total_loss(
    clip: Clip,
    probabilities: Tensor,
    label: int,
    parameters: list[Tensor],
    *,
    weight_decay: float,
    beta: float,
    gamma: float,
) -> Tensor:
    """Eq. 9, as printed, for `probabilities` [K, classes]; a clip with one prediction has K = 1."""
    cross_entropy = -torch.log(probabilities[:, label]).sum() / len(probabilities)
    decay = weight_decay * sum((parameter**2).sum() for parameter in parameters)
    return cross_entropy + decay + beta * interactive_loss(clip) + gamma * attention_loss(clip)


def calibrated_attended(clip: Clip) -> Tensor:
    """Eq. 4 repaired: M of rows that sum to 1, so that its gain is 1 at any K, [d, C]."""
    return unit_sum_attention(clip) @ values(clip)


def bounded_interactive_loss(clip: Clip) -> Tensor:
    """Eq. 6 repaired: the captured share of ||X||^2, and the mean squared overlap of two maps."""
    a, x, m = attention(clip), values(clip), attended(clip)
    captured = (m**2).sum() / (x**2).sum()
    if len(a) == 1:
        return -captured
    overlap = sum(
        torch.dot(a[i], a[j]) ** 2 for i in range(len(a)) for j in range(len(a)) if i != j
    )
    return -captured + overlap / (len(a) * (len(a) - 1))


def attention_entropy(clip: Clip) -> Tensor:
    """The mean Renyi entropy of order 2 of eq. 3's softmax, as a share of an even one's."""
    probabilities = softmax(fused_scores(clip))
    entropies = -torch.log((probabilities**2).sum(dim=1))
    return entropies.mean() / math.log(max(probabilities.shape[1], 2))


def effective_positions(clip: Clip) -> Tensor:
    """How many positions a map attends to: 1 / sum_p p^2, a mean over the maps."""
    return (1 / (softmax(fused_scores(clip)) ** 2).sum(dim=1)).mean()


def map_likeness(clip: Clip) -> Tensor:
    """The mean cosine of two different maps; a single map is like itself."""
    a = attention(clip)
    pairs = [(i, j) for i in range(len(a)) for j in range(len(a)) if i != j] or [(0, 0)]
    return torch.stack([torch.dot(a[i], a[j]) for i, j in pairs]).mean()


def score_peak(clip: Clip) -> Tensor:
    """The mean over the maps of log(P max_p p)."""
    probabilities = softmax(fused_scores(clip))
    return torch.log(probabilities.shape[1] * probabilities.amax(dim=1)).mean()


def cosine_attention_loss(clip: Clip) -> Tensor:
    """Eq. 7 and 8 repaired: the mean cosine of a_m and softmax(y^j)_m, in [0, 1]."""
    a = attention(clip)
    cosines = [
        torch.dot(fused, own) / (torch.linalg.norm(fused) * torch.linalg.norm(own))
        for y in scores(clip)
        for fused, own in zip(a, softmax(y), strict=True)
    ]
    return torch.stack(cosines).mean()


@st.composite
def clips(draw: st.DrawFn) -> Clip:
    """Draw a clip whose fused scores reach up to `LARGEST_SCORE`; its leaves ask for gradients."""
    num_frames = draw(st.integers(1, 6))
    num_scales = draw(st.integers(1, 4))
    num_maps = draw(st.integers(1, 9))
    size, channels = st.integers(1, 9), st.integers(1, 6)
    shapes = [(num_frames, draw(channels), draw(size), draw(size)) for _ in range(num_scales)]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    clip = Clip(
        maps=tuple(normal(*shape) for shape in shapes),
        weights=tuple(normal(num_maps, shape[1]) for shape in shapes),
        biases=tuple(normal(num_maps) for _ in shapes),
        fusion=draw(st.sampled_from(["maximum", "sum", "product"])),
        downsampling=draw(st.sampled_from(["max", "average"])),
        score_norm=draw(st.sampled_from(["none", "rms", "layer"])),
        aggregate=draw(st.sampled_from(["maps", "features"])),
    )
    _scale_scores(clip, draw(st.sampled_from([0.01, 1.0, 10.0, LARGEST_SCORE])))
    for leaf in clip.leaves:
        leaf.requires_grad_()
    return clip


def _scale_scores(clip: Clip, largest: float) -> None:
    """Give every scale the weights with which fused scores lie in [-largest, largest]."""
    num_scales = len(clip.maps)
    share = {
        "maximum": largest,
        "sum": largest / num_scales,
        "product": largest ** (1 / num_scales),
    }
    layers = zip(clip.weights, clip.biases, scores(clip), strict=True)
    for index, (weight, bias, y) in enumerate(layers):
        # No two scales' extremes are equal: the gradient of a maximum is not defined at a tie.
        factor = share[clip.fusion] * (1 - 0.01 * index) / y.abs().max()
        weight.mul_(factor)
        bias.mul_(factor)
