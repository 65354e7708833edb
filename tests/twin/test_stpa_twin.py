"""The twin itself: small cases by hand, and torch's own pooling."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.twin import stpa_twin
from tests.twin.stpa_twin import Clip

ANY_CLIP = settings(max_examples=40)


def tensor(values: list | float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# One frame of 1 x 2 positions with features 3 and 4; the two maps attend with e^y = (1, 2), (3, 1).
TWO_POSITIONS = Clip(
    maps=(tensor([[[[0, 1]], [[1, 0]]]]), tensor([[[[3, 4]]]])),
    weights=(torch.log(tensor([[2, 1], [1, 3]])), tensor([[0], [0]])),
    biases=(tensor([0, 0]), tensor([1, 1])),
    fusion="product",
    downsampling="max",
)
A = tensor([[1, 2], [3, 1]]) / tensor([[5], [10]]) ** 0.5
LOWER, UPPER = tensor([[1 / 3, 2 / 3], [3 / 4, 1 / 4]]), tensor([[1 / 2, 1 / 2], [1 / 2, 1 / 2]])
M = tensor([[11], [13]]) / tensor([[5], [10]]) ** 0.5
CAPTURED = 121 / 5 + 169 / 10
OVERLAP = 25 / 50


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (stpa_twin.attention, A),
        (stpa_twin.attended, M),
        (stpa_twin.interactive_loss, tensor(-CAPTURED + 2 * OVERLAP)),
        (
            stpa_twin.attention_loss,
            (8 - ((A - LOWER) ** 2).sum() - ((A - UPPER) ** 2).sum()) ** 0.5,
        ),
        (stpa_twin.calibrated_attended, tensor([[11 / 3], [13 / 4]])),
        (stpa_twin.bounded_interactive_loss, tensor(-CAPTURED / 25 + OVERLAP)),
        (stpa_twin.cosine_attention_loss, tensor((2 + 3 / 10**0.5 + 4 / 20**0.5) / 4)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_two_positions_by_hand(
    form: Callable[[Clip], torch.Tensor], expected: torch.Tensor
) -> None:
    torch.testing.assert_close(form(TWO_POSITIONS), expected)


def test_eq_9_adds_its_four_terms() -> None:
    loss = stpa_twin.total_loss(
        TWO_POSITIONS,
        tensor([[0.5, 0.5], [0.25, 0.75]]),
        0,
        [tensor([1, 2]), tensor([3])],
        weight_decay=0.1,
        beta=2.0,
        gamma=3.0,
    )
    cross_entropy = torch.log(tensor(8.0)) / 2
    interactive = stpa_twin.interactive_loss(TWO_POSITIONS)
    attention = stpa_twin.attention_loss(TWO_POSITIONS)
    torch.testing.assert_close(loss, cross_entropy + 1.4 + 2 * interactive + 3 * attention)


@pytest.mark.parametrize(("fusion", "fused"), [("maximum", 5), ("sum", 4), ("product", -10)])
def test_scores_fuse_position_by_position(fusion: str, fused: float) -> None:
    one = tensor([[[[1]]]])
    clip = Clip(
        (one, one, one), (one[0, 0],) * 3, (tensor([0]), tensor([4]), tensor([-3])), fusion, "max"
    )
    torch.testing.assert_close(stpa_twin.fused_scores(clip), tensor([[fused]]))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_downsampling_is_adaptive_pooling(height: int, width: int, rows: int, columns: int) -> None:
    maps = torch.randn(2, 3, height, width, dtype=torch.float64)
    for name, pool in (("max", F.adaptive_max_pool2d), ("average", F.adaptive_avg_pool2d)):
        pooled = stpa_twin.downsample(maps, rows, columns, name)
        torch.testing.assert_close(pooled, pool(maps, (rows, columns)))


def test_positions_go_frame_by_frame_then_row_by_row() -> None:
    maps = torch.arange(24, dtype=torch.float64).reshape(2, 2, 2, 3)
    weight, bias = torch.ones(1, 2, dtype=torch.float64), tensor([0])
    (x,) = stpa_twin.features(Clip((maps,), (weight,), (bias,), "sum", "max"))
    assert x[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17]


@ANY_CLIP
@given(stpa_twin.clips())
def test_drawn_clips_stay_within_what_the_twin_can_compute(clip: Clip) -> None:
    assert stpa_twin.fused_scores(clip).abs().max() <= stpa_twin.LARGEST_SCORE + 1e-9
    for form in (stpa_twin.interactive_loss, stpa_twin.attention_loss):
        gradients = torch.autograd.grad(form(clip), clip.leaves)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


@ANY_CLIP
@given(stpa_twin.clips())
def test_repaired_losses_are_bounded(clip: Clip) -> None:
    num_maps = len(clip.biases[0])
    assert 0 <= stpa_twin.cosine_attention_loss(clip) <= 1 + 1e-12
    assert -num_maps - 1e-12 <= stpa_twin.bounded_interactive_loss(clip) <= 1 + 1e-12
