"""One pass over a video gives each K what a pass of its own would."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stpa.data import transforms
from stpa.data.clips import ClipReader
from stpa.data.manifest import Video
from stpa.data.sampling import GRIDS
from stpa.data.storage import Folder
from stpa.evaluation.k_sweep import Sweep, read_states, sum_up_video, sweep_video
from stpa.models.heads import HEADS, Head, HeadOutput
from stpa.models.network import ActionNetwork
from stpa.streams import FLOW, RGB, Stream
from tests.unit.models.test_network import spec_of
from tests.workspaces import make_video, write_video_and_flow

VALUES_OF_K = (7, 1, 4, 30)
NUM_FRAMES = 23


class LastFrameHead(Head):
    """A head that no merging could serve: it keeps the features of all frames, and their order."""

    def forward(self, frames, tail):
        features = tail(frames.aggregated).unflatten(0, (frames.num_clips, -1))
        weights = torch.arange(1.0, 1 + features.shape[1]).unsqueeze(-1)
        return HeadOutput(self.classifier((features * weights).mean(dim=1)))

    def frame_states(self, pyramid, tail):
        return (tail(pyramid[-1]),)

    def classify(self, states, tail):
        weights = torch.arange(1.0, 1 + states[0].shape[1]).unsqueeze(-1)
        return self.classifier((states[0] * weights).mean(dim=1))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    write_video_and_flow(root, num_frames=NUM_FRAMES)
    return root


@pytest.fixture(scope="module")
def video() -> Video:
    return make_video(num_frames=NUM_FRAMES)


@pytest.fixture(params=[*HEADS, "last_frame"])
def head(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(HEADS, "last_frame", LastFrameHead)
    return request.param


def make_network(head: str, stream: Stream = RGB, short_side: int = 64) -> ActionNetwork:
    torch.manual_seed(0)
    spec = spec_of(head, stream=stream, short_side=short_side)
    network = ActionNetwork(spec).eval()
    for projection in getattr(getattr(network.head, "scores", None), "projections", ()):
        torch.nn.init.normal_(projection.weight)  # attention that differs between frames
    return network


@pytest.mark.parametrize("stream", [RGB, FLOW])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("frames_at_once", "num_crops"), [(3, 1), (100, 1), (30, 10)])
def test_each_k_is_classified_as_its_own_clip(
    root: Path,
    video: Video,
    head: str,
    stream: Stream,
    grid: str,
    frames_at_once: int,
    num_crops: int,
) -> None:
    network = make_network(head, stream, short_side=80 if num_crops > 1 else 64)
    folder = Folder(root if stream == "rgb" else root / "flow")
    sweep = Sweep(VALUES_OF_K if num_crops == 1 else (4, 1), grid, num_crops)
    found = sweep_video(network, video, folder, sweep, frames_at_once=frames_at_once)
    assert sorted(found) == sorted(sweep.values_of_k)
    for k, positions in sweep.positions(video, stream).items():
        clip = ClipReader(stream, folder, network.spec.short_side).read(video, positions)
        crops = transforms.test_crops(clip, 64, num_crops, stream=stream)
        with torch.no_grad():
            alone = network(torch.from_numpy(crops)).logits.mean(dim=0)
        np.testing.assert_allclose(found[k], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("merging_head", ["stpa", "tsn"])
@pytest.mark.parametrize("num_parts", [1, 2, 5, 40])
def test_parts_of_a_video_summed_up_apart_are_the_whole(
    root: Path, video: Video, merging_head: str, num_parts: int
) -> None:
    network = make_network(merging_head, short_side=80)
    sweep = Sweep(VALUES_OF_K, "exact", num_crops=1 if num_parts == 40 else 5)
    parts = [
        sum_up_video(network, video, Folder(root), sweep, part=(index, num_parts))
        for index in range(num_parts)
    ]
    whole = sweep_video(network, video, Folder(root), sweep)
    found = read_states(network, parts[::-1])
    assert sorted(found) == sorted(VALUES_OF_K)
    for k in VALUES_OF_K:
        np.testing.assert_allclose(found[k], whole[k], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
def test_each_distinct_frame_goes_through_the_backbone_once(
    root: Path, video: Video, grid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_network("stpa")
    seen: list[torch.Tensor] = []
    look = network.pyramid
    monkeypatch.setattr(network, "pyramid", lambda frames: seen.append(frames) or look(frames))
    sweep_video(network, video, Folder(root), Sweep((1, 2, 4, 7), grid))
    positions = np.concatenate(list(GRIDS[grid](NUM_FRAMES, (1, 2, 4, 7), 1).values()))
    assert len(torch.cat(seen)) == len(np.unique(positions))
