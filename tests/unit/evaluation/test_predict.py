"""Naming the action in a file: what is read, how often, and what is made of it.

The networks are stubs that look at nothing but the levels of a clip.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from stpa.data.clips import ClipReader
from stpa.data.decode import read_flow_stacks
from stpa.data.manifest import Video
from stpa.data.probe import probe
from stpa.data.storage import Folder
from stpa.errors import DataError
from stpa.evaluation import predict, reading
from stpa.evaluation.fusion import FUSION_RULES, Fusion, average_sigmoids
from stpa.evaluation.k_sweep import Sweep, sweep_video
from stpa.evaluation.predict import Classifier, describe_video, load_and_score
from stpa.models.heads import Head
from stpa.models.network import ActionNetwork, NetworkSpec
from stpa.optical_flow.codec import dequantise
from stpa.optical_flow.extract import extract_video
from stpa.streams import STREAMS, Stream
from tests.workspaces import SMALL_FLOW, write_video

K = 4


class Nothing(nn.Identity):
    attends = False


class Levels(ActionNetwork):
    """Scores a video by the mean level of its channels, over frames; counts its passes."""

    def __init__(self, stream: Stream, multi_label: bool) -> None:
        nn.Module.__init__(self)
        spec = SimpleNamespace(
            stream=stream,
            short_side=48,
            input_size=48,
            multi_label=multi_label,
            class_names=("a", "b", "c"),
        )
        self.spec = cast(NetworkSpec, spec)
        self.register_buffer("mean", torch.zeros(1))
        self.head = cast(Head, Nothing())  # it merges nothing
        self.passes = 0

    def pyramid(self, frames: torch.Tensor) -> list[torch.Tensor]:
        self.passes += 1
        return [frames.float().unflatten(-1, (4, -1)).mean(-1).unflatten(2, (4, -1)).mean(3)]

    def frame_states(self, pyramid: Any, num_clips: int = 1) -> tuple[torch.Tensor, ...]:
        return (pyramid[-1][:, :3].mean(dim=(2, 3)).unflatten(0, (num_clips, -1)),)

    def classify(self, states: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return states[0].mean(dim=1)

    def evidence(self, pyramid: Any, weights: torch.Tensor) -> torch.Tensor:
        return torch.einsum("tchw,c->thw", pyramid[-1][:, :3], weights)

    def frame_weights(self, pyramid: Any) -> torch.Tensor:
        return torch.arange(len(pyramid[-1])) / 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "läuft weg.avi"
    write_video(path, seed=1, num_frames=20)
    return path


@pytest.fixture
def video(path: Path) -> Video:
    return describe_video(path, probe(path))


def classifier(
    *streams: str,
    num_segments: int = K,
    num_crops: int = 1,
    late_fusion: str | None = "tsn_weighted",
    multi_label: bool = False,
) -> Classifier:
    late_fusion = late_fusion if len(streams) > 1 else None
    return Classifier(
        {stream: Levels(STREAMS[stream], multi_label) for stream in streams},
        fusion=Fusion(late_fusion) if late_fusion else None,
        num_segments=num_segments,
        num_crops=num_crops,
        optical_flow=SMALL_FLOW,
    )


@pytest.mark.parametrize(("num_segments", "num_crops"), [(1, 1), (K, 1), (30, 1), (K, 10)])
def test_scores_are_those_of_the_k_sweep_fused(
    video: Video, path: Path, tmp_path: Path, num_segments: int, num_crops: int
) -> None:
    both = classifier("rgb", "flow", num_segments=num_segments, num_crops=num_crops)
    sweep = Sweep((num_segments,), "exact", num_crops)
    stored = tmp_path / "stored"
    sizes = {"num_frames": video.num_frames, "source_sha256": video.sha256}
    extract_video(path, stored / f"{video.video_id}.avi", **sizes, **SMALL_FLOW)
    swept = {
        stream: sweep_video(network, video, Folder(root), sweep)[num_segments]
        for (stream, network), root in zip(
            both.networks.items(), (path.parent, stored), strict=True
        )
    }
    expected = FUSION_RULES["tsn_weighted"](swept)
    np.testing.assert_allclose(both.scores(video, Folder(path.parent)), expected, rtol=1e-5)
    np.testing.assert_allclose(both.explain(video, Folder(path.parent)).scores, expected, rtol=1e-5)


def test_networks_of_many_labels_are_fused_by_the_rule_for_many(video: Video, path: Path) -> None:
    both = classifier("rgb", "flow", late_fusion="average_probabilities", multi_label=True)
    alone = [classifier(stream, multi_label=True) for stream in ("rgb", "flow")]
    rgb, flow = (one.scores(video, Folder(path.parent)) for one in alone)
    fused = both.scores(video, Folder(path.parent))
    np.testing.assert_allclose(fused, average_sigmoids({"rgb": rgb, "flow": flow}), rtol=1e-5)


def test_a_file_is_read_once_for_each_need_and_each_network_runs_once(
    video: Video, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load, extract = reading.ClipReader.read, reading.extract_video

    def count_load(reader: ClipReader, *arguments: Any) -> np.ndarray:
        read.append(reader.stream.name)
        return load(reader, *arguments)

    def count_extract(*arguments: Any, **settings: Any) -> None:
        read.append("extract")
        extract(*arguments, **settings)

    monkeypatch.setattr(reading.ClipReader, "read", count_load)
    monkeypatch.setattr(reading, "extract_video", count_extract)
    both = classifier("rgb", "flow")
    both.explain(video, Folder(path.parent))
    assert read == ["extract", "rgb", "flow", "rgb"]  # the last: the pictures under the flow's heat
    assert [cast(Levels, network).passes for network in both.networks.values()] == [1, 1]


def test_evidence_is_for_the_winner_over_the_runner_up_on_the_pictures_that_were_seen(
    video: Video, path: Path
) -> None:
    both = classifier("rgb", "flow")
    explained = both.explain(video, Folder(path.parent))
    _third, second, best = np.argsort(explained.scores)
    rgb, flow = explained.streams["rgb"], explained.streams["flow"]
    assert rgb.frames.shape == flow.frames.shape == (K, 48, 48, 3)
    cells = rgb.frames.reshape(K, 4, 12, 4, 12, 3).mean(axis=(2, 4))
    expected = cells[..., best] - cells[..., second]
    np.testing.assert_allclose(rgb.evidence, expected, rtol=1e-3, atol=1e-3)
    assert flow.evidence.shape == (K, 4, 4)
    assert explained.fps == video.fps == 25
    assert (explained.winner, explained.runner_up) == ("abc"[best], "abc"[second])


def test_where_a_video_may_have_several_labels_evidence_is_for_the_best_one_alone(
    video: Video, path: Path
) -> None:
    explained = classifier("rgb", multi_label=True).explain(video, Folder(path.parent))
    [rgb] = explained.streams.values()
    cells = rgb.frames.reshape(K, 4, 12, 4, 12, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(rgb.evidence, cells[..., explained.scores.argmax()], rtol=1e-4)
    assert explained.runner_up is None


def test_each_stream_is_explained_with_its_own_logits_and_frame_weights(
    video: Video, path: Path
) -> None:
    explained = classifier("rgb", "flow").explain(video, Folder(path.parent))
    for stream, seen in explained.streams.items():
        alone = classifier(stream).scores(video, Folder(path.parent))
        np.testing.assert_allclose(seen.logits, alone, rtol=1e-5)
        np.testing.assert_allclose(seen.frame_weights, np.arange(K) / 10)


def test_the_flow_is_shown_in_px_as_the_network_saw_it(
    video: Video, path: Path, tmp_path: Path
) -> None:
    seen = classifier("rgb", "flow").explain(video, Folder(path.parent)).streams
    assert seen["rgb"].flow is None
    stored = tmp_path / "stored" / video.flow_path
    sizes = {"num_frames": video.num_frames, "source_sha256": video.sha256}
    extract_video(path, stored, **sizes, **SMALL_FLOW)
    middles = seen["flow"].indices
    levels = read_flow_stacks(stored, middles, 1)[:, :, 8:56, 8:56]  # 64 px at 48 is 3/4 of it
    assert seen["flow"].flow is not None
    medians = np.median(seen["flow"].flow, axis=(2, 3))
    np.testing.assert_allclose(medians, np.median(dequantise(levels, 8.0), axis=(2, 3)), atol=0.07)
    assert medians[:, 0].mean() > 0.5  # the texture moves to the right


def test_stored_flow_gives_the_same_explanation_without_a_new_extraction(
    video: Video, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, videos = classifier("rgb", "flow"), Folder(path.parent)
    expected = both.explain(video, videos)
    sizes = {"num_frames": video.num_frames, "source_sha256": video.sha256}
    extract_video(path, tmp_path / "stored" / video.flow_path, **sizes, **SMALL_FLOW)
    monkeypatch.delattr(reading, "extract_video")
    found = both.explain(video, videos, stored_flow=Folder(tmp_path / "stored"))
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_the_flow_is_shown_at_the_middle_of_what_it_saw(video: Video, path: Path) -> None:
    [seen] = classifier("flow").explain(video, Folder(path.parent)).streams.values()
    assert seen.indices.tolist() == [3, 7, 11, 15]  # 19 flow frames: stacks from 1, 5, 9, 13
    [shown] = (
        classifier("rgb", num_segments=20).explain(video, Folder(path.parent)).streams.values()
    )
    np.testing.assert_array_equal(seen.frames, shown.frames[seen.indices])


def test_a_video_shorter_than_a_stack_is_shown_within_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "short.avi"
    write_video(path, seed=1, num_frames=2)
    video = describe_video(path, probe(path))
    [seen] = classifier("flow").explain(video, Folder(tmp_path)).streams.values()
    assert seen.indices.tolist() == [1] * K


def test_a_video_of_a_manifest_is_found_below_its_root(
    video: Video, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = {"rgb": Path("rgb"), "flow": Path("flow")}
    monkeypatch.setattr(
        predict, "load_shared", lambda folder, device: Levels(STREAMS[folder.name], False)
    )
    inner = f"{path.parent.name}/{path.stem}"
    update = {"video_id": inner, "path": f"{inner}.avi", "labels": (path.parent.name,)}
    found = load_and_score(
        video.model_copy(update=update),
        storage=Folder(path.parents[1]),
        networks=networks,
        fusion=Fusion("tsn_weighted"),
        num_segments=K,
        num_crops=1,
        optical_flow=SMALL_FLOW,
        device="cpu",
    )
    expected = classifier("rgb", "flow").scores(video, Folder(path.parent))
    np.testing.assert_array_equal(found, expected)


def test_a_file_that_does_not_decode_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.avi"
    path.write_text("no video")
    with pytest.raises(DataError, match=r"notes\.avi cannot be classified: does not decode"):
        describe_video(path, probe(path))
