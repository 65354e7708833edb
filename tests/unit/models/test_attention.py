"""The layer against equations 1-8 written out in float64, position by position."""

import itertools
import math
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from stpa.models.aggregation import AttentionState, attend, finalise, merge
from stpa.models.heads import HeadOptions, StpaHead, TsnHead
from stpa.training.losses import attention_loss, interactive_loss

CHANNELS = (3, 4, 5)
SIZES = ((8, 6), (4, 3), (2, 3))
NUM_MAPS = 6


def projections(head: StpaHead) -> list[torch.nn.Linear]:
    return [cast("torch.nn.Linear", module) for module in head.scores.projections]


def make_head(fusion: str = "product", downsampling: str = "max") -> StpaHead:
    torch.manual_seed(0)
    options = HeadOptions(CHANNELS, NUM_MAPS, 7, 0.0, fusion, downsampling)
    head = StpaHead(options).double()
    for projection in projections(head):
        torch.nn.init.normal_(projection.weight)
        torch.nn.init.normal_(projection.bias)
    return head


def make_pyramid(num_frames: int) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [
        torch.randn(num_frames, c, h, w, dtype=torch.float64)
        for c, (h, w) in zip(CHANNELS, SIZES, strict=True)
    ]


def naive_attention(head: StpaHead, pyramid: list[torch.Tensor], fusion: str, pooling: str):
    """Eq. 1-4 and 7 for one clip, with a loop for every index."""
    pool = {"max": F.adaptive_max_pool2d, "average": F.adaptive_avg_pool2d}[pooling]
    height, width = pyramid[-1].shape[-2:]
    num_frames = len(pyramid[-1])
    places = list(itertools.product(range(num_frames), range(height), range(width)))
    scale_scores = []
    for projection, maps in zip(projections(head), pyramid, strict=True):
        small = pool(maps, (height, width))
        scale_scores.append(
            [
                [
                    (projection.weight[m] @ small[t, :, y, x] + projection.bias[m]).item()
                    for t, y, x in places
                ]
                for m in range(NUM_MAPS)
            ]
        )
    fuse = {"maximum": max, "sum": sum, "product": math.prod}[fusion]
    rows, maps = [], []
    for m in range(NUM_MAPS):
        fused = [fuse(scores[m][p] for scores in scale_scores) for p in range(len(places))]
        softmax = [math.exp(z) / sum(math.exp(other) for other in fused) for z in fused]
        norm = math.sqrt(sum(a * a for a in softmax))
        rows.append([a / norm for a in softmax])
        maps.append(
            sum(a * pyramid[-1][t, :, y, x] for a, (t, y, x) in zip(rows[m], places, strict=True))
        )
    each_scale = torch.tensor(scale_scores, dtype=torch.float64).softmax(dim=-1)
    return torch.tensor(rows, dtype=torch.float64), torch.stack(maps), each_scale


@pytest.mark.parametrize("fusion", ["maximum", "sum", "product"])
@pytest.mark.parametrize("downsampling", ["max", "average"])
def test_head_equals_the_equations_written_out(fusion: str, downsampling: str) -> None:
    head = make_head(fusion, downsampling)
    pyramid = make_pyramid(num_frames=3)
    weights, maps, each_scale = naive_attention(head, pyramid, fusion, downsampling)

    output = head(pyramid, num_clips=1)

    assert output.attention is not None
    torch.testing.assert_close(output.attention.weights[0], weights, atol=1e-10, rtol=0)
    torch.testing.assert_close(output.attention.maps[0], maps, atol=1e-10, rtol=0)
    torch.testing.assert_close(output.attention.scale_weights[:, 0], each_scale, atol=1e-10, rtol=0)
    expected = head.classifier(maps.mean(dim=0))
    torch.testing.assert_close(output.logits[0], expected, atol=1e-10, rtol=0)


def test_losses_equal_the_equations_written_out() -> None:
    head = make_head()
    weights, maps, each_scale = naive_attention(head, make_pyramid(3), "product", "max")
    gram = weights @ weights.T
    identity = torch.eye(NUM_MAPS, dtype=torch.float64)
    interactive = -(maps @ maps.T * identity).sum() + ((gram * (1 - identity)) ** 2).sum()
    attention = (1 - (weights - each_scale) ** 2).sum().sqrt()

    torch.testing.assert_close(interactive_loss(maps[None], weights[None]), interactive)
    torch.testing.assert_close(attention_loss(weights[None], each_scale[:, None]), attention)


def test_clips_of_a_batch_do_not_mix() -> None:
    head = make_head()
    pyramid = make_pyramid(num_frames=6)
    together = head(pyramid, num_clips=2).logits
    first = head([maps[:3] for maps in pyramid], num_clips=1).logits
    second = head([maps[3:] for maps in pyramid], num_clips=1).logits
    torch.testing.assert_close(together, torch.cat([first, second]))


@pytest.mark.parametrize("head_class", [StpaHead, TsnHead])
def test_merged_frame_states_classify_as_the_whole_clip(head_class: type) -> None:
    torch.manual_seed(0)
    head = head_class(HeadOptions(CHANNELS, NUM_MAPS, 7, 0.0, "product", "max")).double()
    pyramid = make_pyramid(num_frames=5)
    whole = head(pyramid, num_clips=1).logits[0]
    torch.testing.assert_close(head.classify(head.frame_states(pyramid)), whole)


@pytest.mark.parametrize("head_class", [StpaHead, TsnHead])
def test_evidence_sums_to_the_lead_over_the_mean_logit_without_the_bias(head_class: type) -> None:
    torch.manual_seed(0)
    head = head_class(HeadOptions(CHANNELS, NUM_MAPS, 7, 0.0, "product", "max")).double()
    pyramid = make_pyramid(num_frames=4)
    logits = head(pyramid, num_clips=1).logits[0]
    evidence = head.evidence(pyramid, class_index=2)
    assert evidence.shape == (4, *SIZES[-1])
    unbiased = logits - head.classifier.bias
    torch.testing.assert_close(evidence.sum(), unbiased[2] - unbiased.mean())


@settings(max_examples=50, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 11), unique=True, max_size=4),
    scale=st.floats(0.1, 300),
    seed=st.integers(0, 2**16),
)
def test_merging_any_chunks_equals_attending_at_once(
    cuts: list[int], scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = scale * torch.randn(2, 12, dtype=torch.float64, generator=generator)
    features = torch.randn(12, 3, dtype=torch.float64, generator=generator)
    bounds = [0, *sorted(cuts), 12]
    order = torch.randperm(len(bounds) - 1, generator=generator).tolist()
    chunks = [
        attend(scores[:, bounds[i] : bounds[i + 1]], features[bounds[i] : bounds[i + 1]])
        for i in order
    ]
    merged = merge(AttentionState(*(torch.stack(parts) for parts in zip(*chunks, strict=True))), 0)
    torch.testing.assert_close(
        finalise(merged), finalise(attend(scores, features)), atol=1e-10, rtol=1e-10
    )


def test_huge_scores_of_half_precision_stay_finite() -> None:
    head = make_head().bfloat16()
    pyramid = [1e3 * maps.bfloat16() for maps in make_pyramid(3)]
    output = head.scores.fused(head.scores(pyramid))
    state = attend(output, pyramid[-1].flatten(2).transpose(1, 2))
    assert finalise(state).isfinite().all()
