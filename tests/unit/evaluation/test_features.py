"""What is stored of a frozen backbone is what the network itself would have seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stpa.data.clips import ClipReader
from stpa.data.crops import CropSource
from stpa.data.features import FeatureSource, read_key, write_features
from stpa.data.manifest import Video
from stpa.data.storage import Folder
from stpa.errors import DataError, ModelError
from stpa.evaluation.features import CENTRE, Views, compute_features
from stpa.evaluation.k_sweep import Sweep, sweep_video
from stpa.models.attention import DOWNSAMPLINGS
from stpa.models.network import ActionNetwork
from stpa.streams import FLOW, RGB, Stream
from tests.unit.models.test_network import spec_of
from tests.workspaces import make_video, write_video_and_flow

NUM_FRAMES = 23
SWEEP = Sweep((7, 1, 4), "exact")
HALF_STEP = 2.0**-11
"""The largest relative error of rounding to float16."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    write_video_and_flow(root, num_frames=NUM_FRAMES, size=80)
    return root


@pytest.fixture(scope="module")
def video() -> Video:
    return make_video(num_frames=NUM_FRAMES)


def make_network(
    head: str, stream: Stream = RGB, top_layer: str = "C", downsampling: str = "max"
) -> ActionNetwork:
    torch.manual_seed(0)
    scales = 1 if top_layer == "FC" else 3
    spec = spec_of(
        head,
        stream=stream,
        top_layer=top_layer,
        num_scales=scales,
        downsampling=downsampling,
    )
    network = ActionNetwork(spec).eval()
    torch.nn.init.normal_(network.head.classifier.weight)
    return network


def folder_of(root: Path, stream: Stream) -> Folder:
    return Folder(root if stream == "rgb" else root / "flow")


@pytest.mark.parametrize("stream", [RGB, FLOW])
@pytest.mark.parametrize("head", ["stpa", "tsn"])
@pytest.mark.parametrize(
    ("top_layer", "downsampling"),
    [("C", "max"), ("C", "average"), ("C", "convolution"), ("FC", "max")],
)
def test_logits_from_stored_features_are_the_network_s_to_float16(
    root: Path,
    video: Video,
    tmp_path: Path,
    stream: Stream,
    head: str,
    top_layer: str,
    downsampling: str,
) -> None:
    network = make_network(head, stream, top_layer, downsampling)
    storage = folder_of(root, stream)
    found = compute_features(network, video, storage, SWEEP, CENTRE)
    write_features(tmp_path / video.feature_path, *found, "key")
    stored = sweep_video(network, video, FeatureSource(Folder(tmp_path), 1, {"a": "key"}), SWEEP)
    seen = sweep_video(network, video, storage, SWEEP)
    assert sorted(stored) == sorted(seen) == [1, 4, 7]
    for k, logits in seen.items():
        scale = np.abs(logits).max()
        assert np.abs(stored[k] - logits).max() < 8 * HALF_STEP * scale


@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
def test_features_are_the_maps_of_all_levels_as_the_attention_takes_them(
    root: Path, video: Video, downsampling: str
) -> None:
    network = make_network("stpa", downsampling=downsampling)
    positions, features = compute_features(network, video, Folder(root), SWEEP, CENTRE)
    reader = ClipReader(RGB, Folder(root), network.spec.short_side)
    source = CropSource(reader, network.spec.input_size, (1.0,), horizontal_flip=False)
    clip = reader.read(video, positions)
    with torch.inference_mode():
        [crop] = CENTRE.crops(clip, video, source)
        pyramid = network.pyramid(torch.from_numpy(np.ascontiguousarray(crop)))
        again = network.pyramid(torch.from_numpy(features[0]))
    assert features.shape == (1, len(positions), network.num_values)
    size = network.backbone.top_size
    assert pyramid[0].shape[-2:] != size
    pool = {"max": F.adaptive_max_pool2d, "average": F.adaptive_avg_pool2d}.get(downsampling)
    for level, stored in zip(pyramid, again, strict=True):
        expected = level if pool is None else pool(level, size)
        assert stored.shape == expected.shape
        torch.testing.assert_close(stored, expected, rtol=2 * HALF_STEP, atol=1e-5)


def test_each_view_is_one_crop_of_all_frames_whatever_the_chunks(root: Path, video: Video) -> None:
    network = make_network("tsn")
    views = Views(3, (0.8,), horizontal_flip=True, seed=1)
    positions, whole = compute_features(network, video, Folder(root), SWEEP, views)
    _, in_chunks = compute_features(
        network, video, Folder(root), SWEEP, views, frames_at_once=views.number * 2
    )
    assert whole.shape[:2] == (3, len(positions))
    np.testing.assert_allclose(whole, in_chunks, rtol=1e-2, atol=1e-2)
    assert not np.allclose(whole[0], whole[1], atol=0.1)
    assert not np.allclose(whole[1], whole[2], atol=0.1)


def test_other_seeds_give_other_views_but_the_same_centre(root: Path, video: Video) -> None:
    network = make_network("tsn")
    one, other = (
        compute_features(
            network, video, Folder(root), SWEEP, Views(2, (0.8,), horizontal_flip=False, seed=seed)
        )[1]
        for seed in (0, 3)
    )
    np.testing.assert_array_equal(one[0], other[0])
    assert not np.allclose(one[1], other[1], atol=0.1)


def test_features_beyond_float16_are_refused(root: Path, video: Video) -> None:
    network = make_network("tsn")
    network.std.fill_(1e-7)
    with pytest.raises(ModelError, match=r"out of float16's range on a\.avi: .* model\.freeze"):
        compute_features(network, video, Folder(root), SWEEP, CENTRE)


@pytest.fixture
def source(tmp_path: Path, video: Video) -> FeatureSource:
    """Store features whose value is 100 times the view, plus the position."""
    positions = np.array([2, 5, 9, 14])
    features = 100.0 * np.arange(3)[:, None, None] + positions[:, None]
    write_features(
        tmp_path / video.feature_path, positions, features.repeat(6, axis=2).astype(np.float16), "k"
    )
    return FeatureSource(Folder(tmp_path), num_views=3, keys={"a": "k"})


def test_a_drawn_clip_is_of_one_view_and_ascends_by_segment(
    source: FeatureSource, video: Video
) -> None:
    rng, views, firsts = np.random.default_rng(0), set(), set()
    for _ in range(60):
        frames = source.draw(video, 2, rng)["frames"]
        assert (frames.shape, frames.dtype) == ((2, 6), torch.float16)
        [view] = {int(value) // 100 for value in frames[:, 0]}
        first, second = (frames[:, 0] - 100 * view).int().tolist()
        assert first in (2, 5)
        assert second in (9, 14)
        views.add(view)
        firsts.add(first)
    assert views == {0, 1, 2}
    assert firsts == {2, 5}


def test_a_video_is_judged_by_its_centre_at_an_even_choice(
    source: FeatureSource, video: Video
) -> None:
    assert source.fixed(video, 2)["frames"][:, 0].tolist() == [5, 14]
    assert source.fixed(video, 8)["frames"][:, 0].tolist() == [2, 2, 5, 5, 9, 9, 14, 14]


@pytest.mark.parametrize("positions", [[2, 3], [14, 15]])
def test_a_position_that_is_not_stored_is_an_error(
    source: FeatureSource, video: Video, positions: list[int]
) -> None:
    assert source.read(video, np.array([14, 2, 2]))[:, 0].tolist() == [14, 2, 2]
    with pytest.raises(DataError, match=r"features of a\.avi are not stored at all positions"):
        source.read(video, np.array(positions))


@pytest.mark.parametrize("content", [None, b"", b"x" * 100])
def test_an_absent_or_damaged_file_is_named_with_the_command(
    tmp_path: Path, video: Video, content: bytes | None
) -> None:
    path = tmp_path / video.feature_path
    if content is not None:
        path.write_bytes(content)
    assert read_key(path) is None
    with pytest.raises(DataError, match=r"features of a\.avi cannot be read .*`stpa features`"):
        FeatureSource(Folder(tmp_path), 1, {"a": "k"}).fixed(video, 2)


def test_features_of_something_else_are_never_read(source: FeatureSource, video: Video) -> None:
    other = replace(source, keys={"a": "of other weights"})
    with pytest.raises(DataError, match=r"features of a\.avi were made from something else"):
        other.fixed(video, 2)


def test_the_key_of_a_file_comes_back(source: FeatureSource, tmp_path: Path, video: Video) -> None:
    assert read_key(tmp_path / video.feature_path) == "k"
