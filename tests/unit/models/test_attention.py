"""The layer and its losses against a float64 twin of equations 1-9 that knows no streaming."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stpa.models import attention_losses as losses
from stpa.models import attention_metrics
from stpa.models.attention import DOWNSAMPLINGS, SCORE_NORMS, StridedConvolution
from stpa.models.attention_losses import Attention
from stpa.models.heads import Frames, Head, HeadInputs, stack_states
from stpa.models.heads.options import HeadOptions
from stpa.models.heads.stpa import StpaHead, StpaOptions, split_state
from stpa.models.heads.tsn import TsnHead
from stpa.training.loop import loss_terms, total_loss
from tests.twin import stpa_twin as twin

assert_exact = partial(torch.testing.assert_close, atol=1e-10, rtol=1e-10)

TWINS: dict[str, tuple[Callable[[StpaHead, Attention], Tensor], Callable[[twin.Clip], Tensor]]] = {
    "M": (lambda head, seen: head.maps_of(seen.state)[0], twin.attended),
    "l_interactive": (lambda _, seen: losses.interactive_loss(seen), twin.interactive_loss),
    "l_attn": (lambda _, seen: losses.attention_loss(seen), twin.attention_loss),
    "bounded": (
        lambda _, seen: losses.bounded_interactive_loss(seen),
        twin.bounded_interactive_loss,
    ),
    "cosine": (lambda _, seen: losses.cosine_attention_loss(seen), twin.cosine_attention_loss),
    "entropy": (lambda _, seen: attention_metrics.entropy(seen), twin.attention_entropy),
    "positions": (
        lambda _, seen: attention_metrics.effective_positions(seen),
        twin.effective_positions,
    ),
    "likeness": (lambda _, seen: attention_metrics.likeness(seen), twin.map_likeness),
}


PRINTED = StpaOptions(
    scale_fusion="product",
    map_norm="l2",
    score_norm="none",
    aggregate="maps",
    interactive_loss="paper",
    interactive_weight=0.3,
    attention_loss="paper",
    attention_weight=0.7,
)
OPTIONS: dict[type, HeadOptions] = {StpaHead: PRINTED, TsnHead: HeadOptions()}


def inputs(**changed) -> HeadInputs:
    values = {
        "channels": (3, 4, 5),
        "strides": (4, 2, 1),
        "downsampling": "max",
        "map_size": (2, 3),
        "num_features": 5,
        "num_classes": 7,
        "dropout": 0.0,
    }
    return HeadInputs(**(values | changed))


class BehindTop(NamedTuple):
    """The layers behind the top map: some that look at each position alone, and the pooling."""

    first: Callable[[Tensor], Tensor]

    def embed(self, maps: Tensor) -> Tensor:
        return self.first(maps)

    def pool(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))

    def __call__(self, maps: Tensor) -> Tensor:
        return self.pool(self.embed(maps))


tail = BehindTop(lambda maps: maps)
TAILS = {"maps": tail, "features": BehindTop(twin.behind)}


def head_of(clip: twin.Clip, map_norm: str = "l2") -> StpaHead:
    """Build the head that has the clip's own tensors for weights."""
    channels = tuple(maps.shape[1] for maps in clip.maps)
    options = replace(
        PRINTED,
        scale_fusion=clip.fusion,
        map_norm=map_norm,
        score_norm=clip.score_norm,
        aggregate=clip.aggregate,
    )
    of_clip = inputs(
        channels=channels,
        strides=(1,) * len(channels),
        downsampling=clip.downsampling,
        map_size=(1, len(clip.biases[0])),
        num_features=channels[-1],
    )
    head = StpaHead(options, of_clip).double()
    for layer, weight, bias in zip(head.scores.projections, clip.weights, clip.biases, strict=True):
        del layer.weight, layer.bias
        layer.weight, layer.bias = weight, bias
    return head


def seen_at_once(head: StpaHead, clip: twin.Clip) -> Attention:
    return read(head.sum_up(Frames(clip.maps, 1), TAILS[clip.aggregate]))


def seen_in_chunks(head: StpaHead, clip: twin.Clip, chunks: list[list[int]]) -> Attention:
    """Sum up chunks of frames apart, and merge their states in one or two steps."""
    states = [
        head.sum_up(Frames([maps[chunk] for maps in clip.maps], num_clips=1), TAILS[clip.aggregate])
        for chunk in chunks
    ]
    half = len(states) // 2
    if half:
        states = [merged(head, states[:half]), merged(head, states[half:])]
    return read(merged(head, states))


def merged(head: StpaHead, states: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return head.merge(stack_states(states))


def read(state: tuple[Tensor, ...]) -> Attention:
    attention, sums = split_state(state)
    assert sums is not None, "of a head in training"
    return Attention(attention, sums)


@st.composite
def chunked_clips(draw: st.DrawFn) -> tuple[twin.Clip, list[list[int]]]:
    """Draw a clip, and a division of its frames into chunks in any order."""
    clip = draw(twin.clips())
    num_frames = len(clip.maps[-1])
    order = draw(st.permutations(range(num_frames)))
    cuts = draw(st.lists(st.integers(0, num_frames), unique=True))
    bounds = sorted({0, num_frames, *cuts})
    return clip, [order[a:b] for a, b in pairwise(bounds)]


def assert_equal_with_gradients(mine: Tensor, naive: Tensor, clip: twin.Clip) -> None:
    assert_exact(mine, naive)
    direction = torch.linspace(-1, 1, mine.numel(), dtype=mine.dtype).reshape(mine.shape)
    gradients = [
        torch.autograd.grad(
            (value * direction).sum() if mine.ndim else value,
            clip.leaves,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        for value in (mine, naive)
    ]
    largest = max(float(each.abs().max()) for each in gradients[1])
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10 * max(1.0, largest))


@pytest.mark.parametrize("name", TWINS)
@settings(max_examples=60)
@given(clip=twin.clips())
def test_layer_and_losses_equal_the_paper_with_all_gradients(name: str, clip: twin.Clip) -> None:
    mine, naive = TWINS[name]
    head = head_of(clip)
    assert_equal_with_gradients(mine(head, seen_at_once(head, clip)), naive(clip), clip)


@pytest.mark.parametrize("name", TWINS)
@settings(max_examples=60)
@given(drawn=chunked_clips())
def test_any_chunks_merged_in_any_order_equal_the_paper(
    name: str, drawn: tuple[twin.Clip, list[list[int]]]
) -> None:
    clip, chunks = drawn
    mine, naive = TWINS[name]
    head = head_of(clip)
    assert_equal_with_gradients(mine(head, seen_in_chunks(head, clip, chunks)), naive(clip), clip)


@settings(max_examples=60)
@given(drawn=chunked_clips())
def test_the_height_of_scores_equals_its_twin(drawn: tuple[twin.Clip, list[list[int]]]) -> None:
    clip, chunks = drawn  # no gradients: peaks are held fixed, which only shares do not notice
    seen = seen_in_chunks(head_of(clip), clip, chunks)
    assert_exact(attention_metrics.score_peak(seen), twin.score_peak(clip))


@settings(max_examples=60)
@given(drawn=chunked_clips())
def test_unit_sum_maps_equal_their_twin(drawn: tuple[twin.Clip, list[list[int]]]) -> None:
    clip, chunks = drawn
    head = head_of(clip, map_norm="l1")
    seen = seen_in_chunks(head, clip, chunks)
    assert_equal_with_gradients(head.maps_of(seen.state)[0], twin.calibrated_attended(clip), clip)


@settings(max_examples=60)
@given(clip=twin.clips())
def test_attention_maps_of_a_second_pass_are_the_rows_of_a(clip: twin.Clip) -> None:
    head = head_of(clip)
    state = head.sum_up(Frames(clip.maps, 1), tail)
    frames = list(range(0, len(clip.maps[-1]), 2))
    weights = head.attention_maps([maps[frames] for maps in clip.maps], state)
    expected = twin.attention(clip).unflatten(1, (-1, *clip.maps[-1].shape[-2:])).movedim(1, 0)
    assert_exact(weights, expected[frames])


def random_pyramid(num_frames: int, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(num_frames)
    return [
        scale * torch.randn(num_frames, c, h, w, dtype=torch.float64, generator=generator)
        for c, (h, w) in zip((3, 4, 5), ((8, 12), (4, 6), (2, 3)), strict=True)
    ]


def make_head(head_class: type[Head] = StpaHead, **changed) -> Any:
    torch.manual_seed(0)
    head = head_class(replace(OPTIONS[head_class], **changed), inputs()).double()
    if isinstance(head, StpaHead):
        for parameter in head.scores.parameters():
            nn.init.normal_(parameter)
    return head


@pytest.mark.parametrize("head_class", [StpaHead, TsnHead])
class TestEveryHead:
    def test_200_frames_in_chunks_equal_all_at_once(self, head_class: type) -> None:
        head, pyramid = make_head(head_class).eval(), random_pyramid(200)
        whole = head.sum_up(Frames(pyramid, 1), tail)
        parts = [
            head.sum_up(Frames([maps[start : start + 7] for maps in pyramid], 1), tail)
            for start in range(0, 200, 7)
        ]
        stacked = stack_states(parts)
        assert_exact(head.read(head.merge(stacked), tail).logits, head.read(whole, tail).logits)

    def test_clips_of_a_batch_do_not_mix(self, head_class: type) -> None:
        head, pyramid = make_head(head_class), random_pyramid(6)
        together = head.read(head.sum_up(Frames(pyramid, 2), tail), tail).logits
        apart = [
            head.read(head.sum_up(Frames([maps[clip] for maps in pyramid], 1), tail), tail).logits
            for clip in (slice(3), slice(3, 6))
        ]
        torch.testing.assert_close(together, torch.cat(apart))

    def test_evidence_adds_up_to_the_weighted_logits_without_the_bias(
        self, head_class: type
    ) -> None:
        head, pyramid = make_head(head_class).eval(), random_pyramid(4)
        output = head.read(head.sum_up(Frames(pyramid, 1), tail), tail)
        logits = output.logits[0] - head.classifier.bias
        weights = torch.tensor([0.0, 0, 1, 0, -1, 0, 0])
        with torch.inference_mode():
            evidence = head.evidence(pyramid, tail, weights)
        assert evidence.shape == (4, 2, 3)
        torch.testing.assert_close(evidence.sum(), logits[2] - logits[4])


@settings(max_examples=40)
@given(clip=twin.clips())
def test_frame_weights_are_the_maps_mean_share_of_the_softmax(clip: twin.Clip) -> None:
    weights = head_of(clip).frame_weights(clip.maps)
    shares = twin.unit_sum_attention(clip)  # [d, P]
    expected = shares.unflatten(1, (len(clip.maps[-1]), -1)).sum(dim=2).mean(dim=0)
    assert_exact(weights, expected)


def test_frames_weigh_alike_where_a_head_averages() -> None:
    weights = make_head(TsnHead).frame_weights(random_pyramid(4))
    assert weights.tolist() == [0.25] * 4


def pretrained_like(scale: float, channels: tuple[int, ...]) -> list[Tensor]:
    """Return positive features as those behind a ReLU: many channels, far from unit size."""
    generator = torch.Generator().manual_seed(0)
    return [
        scale * torch.randn(3, width, side, side, generator=generator).relu()
        for width, side in zip(channels, (16, 8, 4), strict=True)
    ]


@pytest.mark.parametrize("score_norm", ["rms", "layer"])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_attention_starts_even_on_features_of_any_size(scale: float, score_norm: str) -> None:
    channels = (96, 320, 1280)
    head = StpaHead(
        replace(PRINTED, score_norm=score_norm),
        inputs(channels=channels, map_size=(4, 4), num_features=1280),
    )
    head.train()
    seen = read(head.sum_up(Frames(pretrained_like(scale, channels), 1), tail))
    even = 1 / 48  # of 3 frames of 16 positions
    largest = (1 / seen.state.total).max().item()  # at the peak, e^0 over the sum
    assert attention_metrics.entropy(seen) > 0.97
    assert largest < 4 * even


def test_what_all_channels_of_a_position_share_moves_no_score_behind_a_layer_norm() -> None:
    head = StpaHead(replace(PRINTED, score_norm="layer"), inputs()).double()
    pyramid = [
        torch.randn(2, width, side, side, dtype=torch.float64)
        for width, side in zip((3, 4, 5), (8, 4, 2), strict=True)
    ]
    shifted = [3.0 * maps + 7.0 for maps in pyramid]  # the same for all channels
    assert_exact(head.scores(pyramid), head.scores(shifted))


def test_printed_scores_start_uneven_on_large_features() -> None:
    channels = (96, 320, 1280)
    head = StpaHead(PRINTED, inputs(channels=channels, map_size=(4, 4), num_features=1280))
    head.train()
    seen = read(head.sum_up(Frames(pretrained_like(30.0, channels), 1), tail))
    assert attention_metrics.entropy(seen) < 0.5


@pytest.mark.parametrize("head_class", [StpaHead, TsnHead])
def test_a_new_head_prefers_no_class(head_class: type) -> None:
    torch.manual_seed(0)
    head = head_class(OPTIONS[head_class], inputs(num_features=1024, num_classes=101))
    assert head.classifier.weight.std().item() == pytest.approx(0.001, rel=0.02)  # TSN's
    assert not head.classifier.bias.any()


@settings(max_examples=40)
@given(clip=twin.clips(), label=st.integers(0, 6))
def test_the_whole_loss_equals_equation_9(clip: twin.Clip, label: int) -> None:
    head = head_of(clip)
    output = head(Frames(clip.maps, 1), TAILS[clip.aggregate])
    target = torch.eye(output.logits.shape[1], dtype=torch.float64)[[label]]
    mine = total_loss(loss_terms(output, target, multi_label=False), PRINTED.loss_weights)
    naive = twin.total_loss(
        clip,
        output.logits.softmax(dim=1),
        label,
        [],
        weight_decay=0.0,
        beta=PRINTED.interactive_weight,
        gamma=PRINTED.attention_weight,
    )
    assert_equal_with_gradients(mine, naive, clip)


def test_strided_convolution_is_a_filter_a_channel_without_overlap() -> None:
    layer, maps = StridedConvolution(3, 2).double(), torch.randn(2, 3, 7, 6, dtype=torch.float64)
    nn.init.normal_(layer.filter.weight)
    naive = torch.zeros(2, 3, 3, 3, dtype=torch.float64)
    for frame, channel, row, column, i, j in product(*map(range, (2, 3, 3, 3, 2, 2))):
        weight = layer.filter.weight[channel, 0, i, j]
        naive[frame, channel, row, column] += (
            weight.detach() * maps[frame, channel, 2 * row + i, 2 * column + j]
        )
    assert_exact(layer(maps, (3, 3)), naive)


@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
def test_half_precision_maps_are_reduced_in_float32(downsampling: str) -> None:
    maps = torch.randn(2, 3, 16, 16).bfloat16()
    reduce = DOWNSAMPLINGS[downsampling](3, 4)
    with torch.no_grad():
        reduced, exact = reduce(maps, (4, 4)), reduce(maps.float(), (4, 4))
    torch.testing.assert_close(reduced, exact, rtol=0, atol=0)


def test_strided_convolution_starts_as_the_mean_of_its_windows() -> None:
    maps = torch.randn(2, 3, 17, 17)
    windows = maps[..., :16, :16].unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-2, -1))
    torch.testing.assert_close(StridedConvolution(3, 2)(maps, (8, 8)), windows)
    assert StridedConvolution(3, 2)(maps, (5, 7)).shape == (2, 3, 5, 7)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.02), (torch.float16, 0.003)])
@pytest.mark.parametrize("fusion", ["maximum", "sum", "product"])
def test_half_precision_features_stay_within_bounds(
    dtype: torch.dtype, bound: float, fusion: str
) -> None:
    head, pyramid = make_head(scale_fusion=fusion).float(), random_pyramid(5)
    exact = head.sum_up(Frames([maps.float() for maps in pyramid], 1), tail)
    half = head.sum_up(Frames([maps.to(dtype) for maps in pyramid], 1), tail)
    maps, rounded = (head.maps_of(read(state).state).detach() for state in (exact, half))
    assert rounded.dtype == torch.float32
    assert float((maps - rounded).norm() / maps.norm()) < bound


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_halve_the_state(dtype: torch.dtype) -> None:
    head, pyramid = make_head().float(), [maps.to(dtype) for maps in random_pyramid(5)]
    outside = head.sum_up(Frames(pyramid, 1), tail)
    with torch.autocast("cpu", dtype=dtype):
        inside = head.sum_up(Frames(pyramid, 1), tail)
    for got, expected in zip(inside, outside, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_scores_of_thousands_stay_finite_with_their_gradients(dtype: torch.dtype) -> None:
    head = make_head().float()
    pyramid = [maps.to(dtype).requires_grad_() for maps in random_pyramid(3, scale=30)]
    seen = read(head.sum_up(Frames(pyramid, 1), tail))
    total = (
        head.maps_of(seen.state).sum()
        + losses.interactive_loss(seen)
        + losses.attention_loss(seen)
        + losses.bounded_interactive_loss(seen)
        + losses.cosine_attention_loss(seen)
    )
    total.backward()
    assert total.isfinite()
    for maps in pyramid:
        assert maps.grad is not None
        assert maps.grad.isfinite().all()


@pytest.mark.parametrize("score_norm", SCORE_NORMS)
@pytest.mark.parametrize("interactive", losses.INTERACTIVE_LOSSES)
@pytest.mark.parametrize("attention", losses.ATTENTION_LOSSES)
def test_features_that_are_all_0_give_finite_losses_and_gradients(
    score_norm, interactive, attention
):
    """As where a network that has nothing to learn from its stream has ended."""
    options = replace(
        PRINTED, score_norm=score_norm, interactive_loss=interactive, attention_loss=attention
    )
    head = StpaHead(options, inputs(channels=(5,), strides=(1,)))
    features = torch.zeros(2 * 3, 5, 2, 3, requires_grad=True)
    output = head(Frames([features], num_clips=2), tail)
    terms = loss_terms(output, torch.eye(7)[:2], multi_label=False)
    loss = total_loss(terms, options.loss_weights)
    gradients = torch.autograd.grad(loss, [features, *head.parameters()])
    assert loss.isfinite()
    assert all(each.isfinite().all() for each in gradients)
