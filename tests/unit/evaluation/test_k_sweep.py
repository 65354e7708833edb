"""One pass over a video gives each K what a pass of its own would."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stpa.data.clips import load_test_clip, stored_frames
from stpa.data.manifest import Video
from stpa.data.sampling import GRIDS
from stpa.evaluation.k_sweep import read_states, sum_up_video, sweep_video
from stpa.models.heads import HEADS, Head, HeadOutput
from stpa.models.network import ActionNetwork
from stpa.optical_flow.extract import extract_video
from tests.unit.models.test_network import SPEC
from tests.workspaces import make_video, write_video

SWEEP = [7, 1, 4, 30]
NUM_FRAMES = 23
FLOW = {"estimator": "farneback", "options": {}, "bound_px": 8.0, "width": 64, "height": 64}


class LastFrameHead(Head):
    """A head that no merging could serve: it keeps the features of all frames, and their order."""

    def forward(self, frames, tail):
        features = tail(frames.aggregated).unflatten(0, (frames.num_clips, -1))
        weights = torch.arange(1.0, 1 + features.shape[1]).unsqueeze(-1)
        return HeadOutput(self.classifier((features * weights).mean(dim=1)), attention=None)

    def frame_states(self, pyramid, tail):
        return (tail(pyramid[-1]),)

    def classify(self, states, tail):
        weights = torch.arange(1.0, 1 + len(states[0])).unsqueeze(-1)
        return self.classifier((states[0] * weights).mean(dim=0))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "a.avi", seed=0, num_frames=NUM_FRAMES)
    extract_video(
        root / "a.avi", root / "flow" / "a.avi", num_frames=NUM_FRAMES, source_sha256="", **FLOW
    )
    return root


@pytest.fixture(scope="module")
def video() -> Video:
    return make_video(num_frames=NUM_FRAMES)


@pytest.fixture(params=[*HEADS, "last_frame"])
def head(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(HEADS, "last_frame", LastFrameHead)
    return request.param


def make_network(head: str, stream: str = "rgb") -> ActionNetwork:
    torch.manual_seed(0)
    spec = replace(SPEC, head=head, stream=stream, short_side=64)
    network = ActionNetwork(spec).eval()
    for projection in getattr(getattr(network.head, "scores", None), "projections", ()):
        torch.nn.init.normal_(projection.weight)  # attention that differs between frames
    return network


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("frames_at_once", [3, 100])
def test_each_k_is_classified_as_its_own_clip(
    root: Path, video: Video, head: str, stream: str, grid: str, frames_at_once: int
) -> None:
    network = make_network(head, stream)
    folder = root if stream == "rgb" else root / "flow"
    found = sweep_video(network, video, folder, SWEEP, grid=grid, frames_at_once=frames_at_once)
    num_frames, span = stored_frames(video, stream)
    positions = GRIDS[grid](num_frames, SWEEP, span)
    assert sorted(found) == sorted(SWEEP)
    for k in SWEEP:
        clip = load_test_clip(video, stream, folder, positions[k], short_side=64, input_size=64)
        with torch.no_grad():
            alone = network(torch.from_numpy(clip)[None]).logits[0]
        np.testing.assert_allclose(found[k], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("merging_head", ["stpa", "tsn"])
@pytest.mark.parametrize("num_parts", [1, 2, 5, 40])
def test_parts_of_a_video_summed_up_apart_are_the_whole(
    root: Path, video: Video, merging_head: str, num_parts: int
) -> None:
    network = make_network(merging_head)
    parts = [
        sum_up_video(network, video, root, SWEEP, grid="exact", part=(index, num_parts))
        for index in range(num_parts)
    ]
    whole = sweep_video(network, video, root, SWEEP, grid="exact")
    found = read_states(network, parts[::-1])
    assert sorted(found) == sorted(SWEEP)
    for k in SWEEP:
        np.testing.assert_allclose(found[k], whole[k], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
def test_each_distinct_frame_goes_through_the_backbone_once(
    root: Path, video: Video, grid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_network("stpa")
    seen: list[torch.Tensor] = []
    look = network.pyramid
    monkeypatch.setattr(network, "pyramid", lambda frames: seen.append(frames) or look(frames))
    sweep = [1, 2, 4, 7]
    sweep_video(network, video, root, sweep, grid=grid)
    positions = np.concatenate(list(GRIDS[grid](NUM_FRAMES, sweep, 1).values()))
    assert len(torch.cat(seen)) == len(np.unique(positions))
