"""Recordings that nobody here made: XviD clips of UCF101, and H.264 clips of swiping hands."""

import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from PIL import Image

from stpa.config import Config
from stpa.data.decode import read_flow_stacks
from stpa.data.manifest import Manifest
from stpa.data.probe import Probe, probe
from stpa.data.storage import Folder
from stpa.evaluation.fusion import FUSION_RULES, Fusion
from stpa.evaluation.k_sweep import Sweep, sweep_video
from stpa.evaluation.picture import FRAMES_SHOWN, draw_prediction, write_picture
from stpa.evaluation.predict import Classifier, describe_video
from stpa.files import read_json
from stpa.models.network import ActionNetwork
from stpa.optical_flow.codec import dequantise
from stpa.optical_flow.extract import extract_video
from stpa.params import load_config
from stpa.presets import preset_path
from stpa.stages.extract import extract_untracked
from stpa.stages.ingest import ingest
from stpa.stages.initialise import initialise
from stpa.stages.storage import stream_storage
from stpa.streams import FLOW, RGB, STACK_LENGTH
from stpa.training.job import TrainingJob
from stpa.workspace import Workspace
from tests.workspaces import REPOSITORY, STPA, make_workspace, small_params

CLIPS = REPOSITORY.parent / "shared" / "data"
UCF101 = {
    "Biking": ("v_Biking_g01_c04.avi", "v_Biking_g20_c06.avi"),
    "Diving": ("v_Diving_g02_c02.avi", "v_Diving_g16_c04.avi"),
}
MADE_BY = {
    "estimator": "farneback",
    "options": {},
    "bound_px": 8.0,
    "width": 120,
    "height": 90,
}
K = FRAMES_SHOWN + 1
SWIPES = {
    "extends": str(preset_path("small")),
    "data": {"source": str(CLIPS / "swipes")},
    "model": {
        "pretrained": str(CLIPS / "weights" / "mobilenetv2_100.imagenet.fp16.safetensors"),
        "backbone_options": {"pad_type": "same", "bn_eps": 0.001},
        "input_mean": [127.5] * 3,
        "input_std": [127.5] * 3,
    },
}
"""The preset as shipped, and what the weights at hand need."""

pytestmark = pytest.mark.skipif(not CLIPS.is_dir(), reason=f"needs the real clips in {CLIPS}")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    params = small_params(optical_flow=MADE_BY)
    return make_workspace(tmp_path_factory.mktemp("ucf101"), params)


@pytest.fixture(scope="module")
def config(workspace: Workspace) -> Config:
    return load_config(workspace.params)


@pytest.fixture(scope="module")
def manifest(
    workspace: Workspace, config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Manifest:
    source = tmp_path_factory.mktemp("clips")
    for label, names in UCF101.items():
        (source / label).mkdir()
        for name in names:
            shutil.copy(CLIPS / "ucf101_clips" / label / name, source / label)
    return ingest(workspace, config, source).manifest


@pytest.fixture(scope="module")
def classifier(workspace: Workspace, config: Config, manifest: Manifest) -> Classifier:
    """Two networks that have learnt nothing yet."""
    networks = {}
    for stream in (RGB, FLOW):
        storage = stream_storage(workspace, config, stream)
        job = TrainingJob(
            stream, "stpa", config.model, config.train, manifest.class_names, False, (), storage
        )
        networks[stream.name] = ActionNetwork(job.spec).eval()
    return Classifier(
        networks,
        fusion=Fusion("average_logits"),
        num_segments=K,
        num_crops=1,
        optical_flow=config.optical_flow.model_dump(),
    )


def test_every_xvid_clip_is_usable_and_its_recording_known(manifest: Manifest) -> None:
    assert manifest.quarantined == []
    assert manifest.class_names == ("Biking", "Diving")
    assert {video.group for video in manifest.videos} == {"g01", "g02", "g16", "g20"}
    assert {(video.width, video.height) for video in manifest.videos} == {(320, 240)}


def test_xvid_frames_are_counted_as_they_decode(workspace: Workspace, manifest: Manifest) -> None:
    for video in manifest.videos:
        with av.open(str(workspace.videos / video.path)) as container:
            assert video.num_frames == sum(1 for _ in container.decode(video=0))


def test_a_clip_by_itself_is_judged_as_the_extracted_dataset_is(
    workspace: Workspace, config: Config, manifest: Manifest, classifier: Classifier
) -> None:
    extract_untracked(workspace, config)
    video = min(manifest.videos, key=lambda video: video.num_frames)
    swept = [
        sweep_video(
            classifier.networks[stream.name],
            video,
            stream_storage(workspace, config, stream),
            Sweep((K,), "exact"),
        )
        for stream in (RGB, FLOW)
    ]
    expected = FUSION_RULES["average_logits"]({"rgb": swept[0][K], "flow": swept[1][K]})
    path = workspace.videos / video.path
    scores = classifier.scores(describe_video(path, probe(path)), Folder(path.parent))
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_a_clip_is_explained_in_a_picture(
    classifier: Classifier, manifest: Manifest, workspace: Workspace, tmp_path: Path
) -> None:
    video = min(manifest.videos, key=lambda video: video.num_frames)
    explanation = classifier.explain(video, Folder(workspace.videos))
    assert np.isfinite(explanation.scores).all()
    for seen in explanation.streams.values():
        assert seen.frames.shape == (K, 64, 64, 3)
        assert len(seen.evidence) == len(seen.frame_weights) == K
        assert (np.diff(seen.indices) > 0).all()
        assert seen.indices[-1] < video.num_frames
    picture = tmp_path / "picture.png"
    write_picture(picture, draw_prediction(explanation, video.path, "untrained"))
    with Image.open(picture) as image:
        assert image.width > image.height > 300


@pytest.mark.parametrize(
    ("clip", "axis", "sign"),
    [
        ("left/v_left_g08_c01.mp4", 0, -1),
        ("right/v_right_g08_c01.mp4", 0, 1),
        ("up/v_up_g11_c01.mp4", 1, -1),
        ("down/v_down_g11_c01.mp4", 1, 1),
    ],
)
def test_stored_flow_points_where_the_hand_goes(
    clip: str, axis: int, sign: int, tmp_path: Path
) -> None:
    video, output = CLIPS / "swipes" / clip, tmp_path / "flow.avi"
    found = probe(video)
    assert isinstance(found, Probe)
    extract_video(video, output, num_frames=found.num_frames, source_sha256=found.sha256, **MADE_BY)
    starts = np.arange(found.num_frames - STACK_LENGTH)
    flow = dequantise(read_flow_stacks(output, starts, STACK_LENGTH), MADE_BY["bound_px"])
    over_time = flow[:, axis::2].mean(axis=(1, 2, 3))
    strongest = over_time[np.abs(over_time).argmax()]
    assert np.sign(strongest) == sign


@pytest.mark.slow
def test_swipes_are_told_apart_by_their_motion(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "swipes")
    params = tmp_path / "swipes.yaml"
    params.write_text(yaml.safe_dump(SWIPES), encoding="utf-8")
    initialise(workspace, params)
    retrain = [STPA, "retrain", "--workspace", workspace.root]
    subprocess.run(retrain, check=True, timeout=3600)
    summary = read_json(workspace.summary)
    assert min(summary["fused_top1"], summary["tsn_fused_top1"]) >= 0.88
    assert summary["flow_top1"] > summary["rgb_top1"]
