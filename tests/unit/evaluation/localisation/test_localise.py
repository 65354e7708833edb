"""One generated clip and small networks: what is measured of them, and on which frames."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stpa.data import sampling
from stpa.data.annotations import Action, load_annotations
from stpa.data.clips import ClipReader
from stpa.data.datasets.synthetic import SyntheticDataset
from stpa.data.manifest import Video
from stpa.data.probe import Probe, probe
from stpa.data.storage import Folder
from stpa.data.transforms import centre_crop
from stpa.errors import DataError
from stpa.evaluation.localisation.boxes import boxes_in_crop
from stpa.evaluation.localisation.localise import Measured, localise
from stpa.evaluation.localisation.look import look_at
from stpa.evaluation.localisation.maps import attention_maps, evidence_maps, with_new_head
from stpa.evaluation.localisation.metrics import KINDS, measure_map
from stpa.models.network import ActionNetwork
from stpa.optical_flow.extract import extract_video
from stpa.params import load_config, read_params
from stpa.presets import preset_path
from stpa.progress import silent
from stpa.streams import FLOW, RGB, Stream
from tests.unit.models.test_network import SPEC, spec_of
from tests.workspaces import make_video, make_workspace, small_params

NAME = "UCF-101/AmberSway/v_AmberSway_g01_c01"
NUM_FRAMES, K = 24, 12
MADE_BY = {
    "estimator": "farneback",
    "options": {},
    "bound_px": 8.0,
    "width": 80,
    "height": 64,
}
"""Stored squeezed, as it may be."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with generated clips in `videos` and the optical flow of one of them."""
    root = tmp_path_factory.mktemp("localise")
    settings = read_params(preset_path("demo"))["data"]["synthetic"]
    settings |= {"num_groups": 2, "clips_per_group": 1, "num_frames": NUM_FRAMES, "size_px": 72}
    params = small_params(data={"dataset": "synthetic", "synthetic": settings})
    config = load_config(make_workspace(root / "workspace", params).params)
    SyntheticDataset().prepare(root / "videos", None, config.data, silent)
    extract_video(
        root / "videos" / f"{NAME}.avi",
        root / "flow" / f"{NAME}.avi",
        num_frames=NUM_FRAMES,
        source_sha256="0" * 64,
        **MADE_BY,
    )
    return root


@pytest.fixture(scope="module")
def video(root: Path) -> Video:
    path = f"{NAME}.avi"
    found = probe(root / "videos" / path)
    assert isinstance(found, Probe)
    return make_video(NAME, path=path, labels=("left",), **found.measures)


@pytest.fixture(scope="module")
def action(root: Path, video: Video) -> Action:
    [action] = load_annotations(root / "videos", None)(video)
    return action


def make_network(stream: Stream, head: str = "stpa", top_layer: str = "C") -> ActionNetwork:
    torch.manual_seed(0)
    num_scales = 1 if top_layer == "FC" else 2
    spec = spec_of(head, stream=stream, top_layer=top_layer, num_scales=num_scales)
    return ActionNetwork(spec).eval()


def stored(root: Path, stream: Stream) -> Folder:
    return Folder(root / ("flow" if stream.reads_optical_flow else "videos"))


def run(
    root: Path, video: Video, network: ActionNetwork, *actions: Action, perturbs: bool = False
) -> list[Measured]:
    return localise(
        network,
        with_new_head(network, seed=0),
        video,
        actions,
        storage=stored(root, network.spec.stream),
        flow_storage=stored(root, FLOW),
        num_segments=K,
        perturbs=perturbs,
    )


@pytest.mark.parametrize("stream", [RGB, FLOW])
def test_maps_are_measured_at_their_frames_against_the_annotated_boxes(
    root: Path, video: Video, action: Action, stream: Stream
) -> None:
    network = make_network(stream)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("head.scores."):
                parameter *= 30  # else attention is nearly even, and all maps alike
    [found] = run(root, video, network, action)
    # The same once more, step by step.
    span = stream.span
    positions = sampling.test_positions(stream.stored_frames(NUM_FRAMES), K, span)
    frames = positions + span // 2
    clip = ClipReader(stream, stored(root, stream), SPEC.short_side).read(video, positions)
    crop = torch.from_numpy(centre_crop(clip, 64).copy())
    expected = {}
    for suffix, each in {"": network, ", new head": with_new_head(network, seed=0)}.items():
        with torch.inference_mode():
            pyramid = each.pyramid(crop)
            rows = each.attention_maps(pyramid, each.frame_states(pyramid)).double()
            evidence = each.evidence(pyramid, torch.tensor([1.0, 0, 0])).double().numpy()
        attention = (rows / rows.sum(dim=(0, 2, 3))[:, None, None]).mean(dim=1).numpy()
        assert attention.sum() == pytest.approx(1)
        expected[f"attention{suffix}"] = attention
        expected[f"evidence{suffix}"] = np.maximum(evidence, 0)
    assert action.boxes is not None
    boxes = boxes_in_crop(action.boxes[frames], (72, 72), clip.shape[2:], 64)
    for name, maps in expected.items():
        again = measure_map(maps, action.in_action[frames], boxes, 64)
        assert found[name] == pytest.approx(again, rel=1e-4), name
        assert set(again) == {*KINDS["space"], *KINDS["time"]}
    assert len({metrics["temporal_auc"] for metrics in found.values()}) > 4


@pytest.mark.parametrize("stream", [RGB, FLOW])
def test_motion_finds_the_actor_and_even_maps_score_what_boxes_cover(
    root: Path, video: Video, action: Action, stream: Stream
) -> None:
    [found] = run(root, video, make_network(stream, top_layer="A"), action)
    uniform, flow = found["uniform"], found["|flow|"]
    assert uniform["temporal_auc"] == 0.5
    assert uniform["energy_in_box"] < 0.3
    assert flow["temporal_auc"] > 0.8
    assert flow["energy_in_box"] > 1.5 * uniform["energy_in_box"]
    assert flow["pointing"] == 1


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("stpa", ["attention", "attention, new head", "evidence", "evidence, new head"]),
        ("tsn", ["evidence", "evidence, new head"]),
    ],
)
def test_attention_is_measured_where_the_head_attends(
    root: Path, video: Video, action: Action, head: str, names: list[str]
) -> None:
    [found] = run(root, video, make_network(RGB, head), action)
    assert list(found) == [*names, "uniform", "random", "centre", "|flow|"]


def test_a_head_that_weighs_whole_frames_points_nowhere_in_space(
    root: Path, video: Video, action: Action
) -> None:
    [found] = run(root, video, make_network(RGB, top_layer="FC"), action)
    for metric in KINDS["space"]:
        assert found["attention"][metric] == pytest.approx(found["uniform"][metric])
    assert found["attention"]["temporal_auc"] != 0.5


def test_without_boxes_only_time_is_measured(root: Path, video: Video, action: Action) -> None:
    [found] = run(root, video, make_network(RGB, "tsn"), replace(action, boxes=None))
    assert set(found["evidence"]) == set(KINDS["time"])


def test_perturbation_is_measured_of_the_network_s_maps_and_of_a_random_order(
    root: Path, video: Video, action: Action
) -> None:
    network = make_network(FLOW, "tsn")
    [found] = run(root, video, network, action, perturbs=True)
    assert [name for name, metrics in found.items() if "deletion" in metrics] == [
        "evidence",
        "random",
    ]
    assert 0 < found["evidence"]["insertion"] < 1
    [again] = run(root, video, network, action, perturbs=True)
    assert again == found


def test_each_action_of_a_video_is_measured_for_its_own_class(
    root: Path, video: Video, action: Action
) -> None:
    network = make_network(RGB, "tsn")
    found = run(root, video, network, action, replace(action, label="up"))
    assert [run(root, video, network, action)[0]["evidence"]] == [found[0]["evidence"]]
    assert found[0]["evidence"] != found[1]["evidence"]


def test_an_action_of_no_known_class_is_refused(root: Path, video: Video, action: Action) -> None:
    with pytest.raises(DataError, match=r"shows 'swim', .* its classes are left, öffnen, up"):
        run(root, video, make_network(RGB, "tsn"), replace(action, label="swim"))


def test_a_new_head_has_other_weights_on_the_same_backbone() -> None:
    network = make_network(RGB)
    state = torch.random.get_rng_state()
    renewed, again = with_new_head(network, seed=1), with_new_head(network, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in renewed.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        if name.startswith("backbone."):
            assert torch.equal(value, network.state_dict()[name])
    assert not torch.equal(renewed.head.classifier.weight, network.head.classifier.weight)
    assert not renewed.training


def test_evidence_is_what_speaks_for_the_class_alone(root: Path, video: Video) -> None:
    network = make_network(RGB)
    with torch.inference_mode():
        look = look_at(network, video, stored(root, RGB), stored(root, FLOW), K)
        maps = evidence_maps(network, look.pyramid, 2)
        signed = network.evidence(look.pyramid, torch.tensor([0.0, 0, 1]))
        attention = attention_maps(network, look.pyramid)
    assert maps.shape == attention.shape == look.map_shape
    assert (signed < 0).any()
    torch.testing.assert_close(maps, signed.clamp(min=0))
