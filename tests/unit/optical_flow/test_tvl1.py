"""TV-L1 against a twin in plain loops, against OpenCV's, and against known motion."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from stpa.data.decode import read_frames
from stpa.optical_flow.estimators import ESTIMATORS, tvl1
from stpa.optical_flow.estimators.tvl1 import OPENCV_CPU, OPENCV_GPU, Tvl1Options, tvl1_flow
from tests.twin import tvl1_twin as twin

assert_exact = partial(torch.testing.assert_close, atol=1e-10, rtol=1e-10)

HEIGHT, WIDTH = 96, 128
REAL_CLIPS = Path(__file__).parents[4] / "shared" / "data"
PIXELS = {"replicate": twin.at_edge, "zero": twin.zero_outside}
BOTH = pytest.mark.parametrize("options", [OPENCV_GPU, OPENCV_CPU], ids=["gpu", "cpu"])


def texture(
    seed: int = 0, flow: Any = (0, 0), height: int = HEIGHT, width: int = WIDTH
) -> np.ndarray:
    """Draw waves of many lengths and directions at (x, y) + `flow`, without interpolation."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x + flow[0], y + flow[1]
    rng = np.random.default_rng(seed)
    lengths, angles, phases = rng.uniform([[6], [0], [0]], [[40], [np.pi], [2 * np.pi]], (3, 24))
    total = sum(
        np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / length + phase)
        for length, angle, phase in zip(lengths, angles, phases, strict=True)
    )
    return np.clip(127.5 + 18 * total, 0, 255).astype(np.float32)


def known_flow(name: str) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    x, y = x - WIDTH / 2, y - HEIGHT / 2
    fields = {
        "shift": (np.full_like(x, 2.3), np.full_like(x, -1.6)),
        "turn": (-0.05 * y, 0.05 * x),
        "zoom": (0.04 * x, 0.04 * y),
        "two halves": (np.where(x < 0, 1.5, -1.5), np.zeros_like(x)),
    }
    return np.stack(fields[name]).astype(np.float32)


def batch(*images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(images)).float()


def in_float64(first: np.ndarray, second: np.ndarray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(first)[None].double(), torch.from_numpy(second)[None].double()


def error_px(flow: np.ndarray, expected: np.ndarray, margin: int = 8) -> float:
    inner = (slice(None), slice(margin, -margin), slice(margin, -margin))
    return float(np.linalg.norm((flow - expected)[inner], axis=0).mean())


def opencv_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    algorithm = cv2.optflow.DualTVL1OpticalFlow.create()
    flow: Any = algorithm.calc(first, second, None)  # pyright: ignore[reportArgumentType, reportCallIssue]
    return flow.transpose(2, 0, 1)


@pytest.mark.parametrize("border", PIXELS)
@pytest.mark.parametrize("median_every", [None, 2])
@pytest.mark.parametrize("seed", range(3))
def test_one_scale_equals_its_twin(border: Any, median_every: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = texture(seed, (0, 0), 17, 19), texture(seed + 9, (0, 0), 17, 19)
    second = (0.7 * first + 0.3 * second).astype(np.float64)
    first = first.astype(np.float64)
    start = rng.normal(0, 1.5, (2, 17, 19))
    options = replace(
        OPENCV_GPU, num_scales=1, num_warps=2, max_iterations=6, border=border,
        median_every=median_every, cubic=[-0.5, -0.75][seed % 2],
    )  # fmt: skip
    expected = twin.refine(
        first, second, (start[0], start[1]), num_warps=2, max_iterations=6,
        median_every=median_every, a=options.cubic, pixel=PIXELS[border],
    )  # fmt: skip
    mine = tvl1._refine(*in_float64(first, second), torch.from_numpy(start)[None], options)
    assert_exact(mine[0], torch.from_numpy(np.stack(expected)))


@BOTH
def test_it_stops_where_its_twin_stops(options: Tvl1Options) -> None:
    first, second = (texture(0, flow, 18, 20).astype(np.float64) for flow in ((0.3, 0.2), (0, 0)))
    options = replace(options, num_scales=1, num_warps=1)
    expected = twin.refine(
        first, second, (np.zeros((18, 20)), np.zeros((18, 20))), num_warps=1, max_iterations=300,
        median_every=options.median_every, a=options.cubic, pixel=PIXELS[options.border],
    )  # fmt: skip
    mine = tvl1_flow(*in_float64(first, second), options)
    assert_exact(mine[0], torch.from_numpy(np.stack(expected)))


@BOTH
def test_a_pair_is_what_it_is_in_any_batch(options: Tvl1Options) -> None:
    pairs = [
        (texture(seed, known_flow(name)), texture(seed))
        for seed, name in enumerate(["shift", "turn", "two halves"])
    ]
    first, second = (batch(*images) for images in zip(*pairs, strict=True))
    together = tvl1_flow(first, second, options)
    for i in range(len(pairs)):
        alone = tvl1_flow(first[i : i + 1], second[i : i + 1], options)
        torch.testing.assert_close(together[i], alone[0], atol=1e-3, rtol=1e-3)


@BOTH
def test_looking_seldom_for_convergence_changes_nothing(
    options: Tvl1Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = batch(texture(flow=known_flow("turn"))), batch(texture())
    looked_at_always = tvl1_flow(first, second, options)
    monkeypatch.setitem(tvl1.LOOK_EVERY, "cpu", 10)
    torch.testing.assert_close(tvl1_flow(first, second, options), looked_at_always)


@pytest.mark.parametrize("name", ["shift", "turn", "zoom", "two halves"])
def test_known_motion_is_found_no_worse_than_opencv_finds_it(name: str) -> None:
    flow, second = known_flow(name), texture()
    first = texture(flow=flow)
    theirs = error_px(opencv_flow(first, second), flow)
    assert theirs < 0.1, "else this says nothing"
    for options in (OPENCV_CPU, OPENCV_GPU):
        mine = error_px(tvl1_flow(batch(first), batch(second), options)[0].numpy(), flow)
        # The GPU's parameters filter no medians, which cost it a hundredth of a pixel at an edge.
        edge = 0.01 if name == "two halves" and options is OPENCV_GPU else 0
        assert mine <= theirs + edge


@pytest.mark.skipif(not REAL_CLIPS.is_dir(), reason="needs ../shared/data")
def test_opencv_s_parameters_give_opencv_s_flow_on_real_clips() -> None:
    errors = []
    for path in sorted((REAL_CLIPS / "ucf101_clips").rglob("*.avi"))[:6]:
        first, second = (
            cv2.cvtColor(cv2.resize(frame, (170, 128)), cv2.COLOR_RGB2GRAY)
            for frame in read_frames(path, [10, 11])
        )
        mine = tvl1_flow(batch(first), batch(second), OPENCV_CPU)[0].numpy()
        difference = mine - opencv_flow(first, second)
        errors.append(float(np.linalg.norm(difference, axis=0).mean()))
    assert len(errors) == 6
    assert np.mean(errors) < 0.1


def test_divergence_is_the_negative_adjoint_of_the_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    flow = torch.randn(2, 2, 7, 9, dtype=torch.float64, generator=generator)
    dual = torch.randn(2, 2, 2, 7, 9, dtype=torch.float64, generator=generator)
    dual[:, :, 0, :, -1] = 0
    dual[:, :, 1, -1] = 0
    assert_exact(
        (tvl1._forward_gradient(flow) * dual).sum(), -(flow * tvl1._divergence(dual)).sum()
    )


@settings(max_examples=50)
@given(arrays(np.float32, (1, 2, 7, 8), elements=st.floats(-9, 9, width=32)))
def test_median_filter_is_opencv_s(flow: np.ndarray) -> None:
    mine = tvl1.median_filter(torch.from_numpy(flow))
    for component, expected in zip(mine[0], flow[0], strict=True):
        np.testing.assert_array_equal(component, cv2.medianBlur(expected, 5))


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_pyramids_are_opencv_s(size: tuple[int, int]) -> None:
    image = texture(0, (0, 0), *size)
    halved, shrunk = (tvl1._smaller(batch(image), name)[0] for name in ("gaussian", "linear"))
    np.testing.assert_allclose(halved, cv2.pyrDown(image), atol=1e-3)
    expected = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(shrunk, expected, atol=1e-3)
    flow = torch.from_numpy(np.stack([expected, -expected]))[None]
    back = tvl1._larger(flow, torch.Size(size), "linear")[0, 1]
    np.testing.assert_allclose(back, -cv2.resize(expected, size[::-1]) / 0.8, atol=1e-3)


def test_a_halved_scale_comes_back_to_the_pixels_it_was_made_of() -> None:
    ramp = torch.arange(12.0).expand(1, 2, 8, 12)
    larger = tvl1._larger(ramp[..., ::2, ::2], ramp.shape[-2:], "gaussian")
    torch.testing.assert_close(larger[..., :-1], 2 * ramp[..., :-1])


def test_small_images_have_fewer_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    refine, heights = tvl1._refine, []

    def refine_and_note(first: Tensor, *rest: Any) -> Tensor:
        heights.append(first.shape[1])
        return refine(first, *rest)

    monkeypatch.setattr(tvl1, "_refine", refine_and_note)
    image = batch(texture(0, (0, 0), 40, 70))
    assert tvl1_flow(image, image, OPENCV_GPU).shape == (1, 2, 40, 70)
    assert heights == [20, 40]


@pytest.mark.slow
@BOTH
def test_compiled_steps_give_the_same_flow(options: Tvl1Options, monkeypatch) -> None:
    first, second = batch(texture(flow=known_flow("turn"))), batch(texture())
    expected = tvl1_flow(first, second, options)
    monkeypatch.setattr(tvl1, "_step", torch.compile(tvl1._step, dynamic=True, backend="aot_eager"))
    torch.testing.assert_close(tvl1_flow(first, second, options), expected, atol=1e-3, rtol=1e-3)


def test_an_unknown_set_of_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'opencv' is unknown: choose from .*opencv_cpu"):
        ESTIMATORS["tvl1"].make(parameters="opencv")
