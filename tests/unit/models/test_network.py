"""The network round backbone and head, and model folders."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stpa.errors import ModelError
from stpa.models.attention import DOWNSAMPLINGS
from stpa.models.checkpoint import SPEC_FILE, WEIGHTS_FILE, load_model, save_model
from stpa.models.heads import HEADS
from stpa.models.network import ActionNetwork, NetworkSpec
from stpa.streams import FLOW, RGB, Stream
from stpa.training.loop import loss_terms

OPTIONS: dict[str, dict[str, Any]] = {
    "stpa": {
        "scale_fusion": "product",
        "map_norm": "l2",
        "score_norm": "none",
        "aggregate": "maps",
        "interactive_loss": "paper",
        "interactive_weight": 1e-4,
        "attention_loss": "paper",
        "attention_weight": 1e-4,
    },
}
"""The options of the heads that have any, as printed."""

SPEC = NetworkSpec(
    stream=RGB,
    head="stpa",
    head_options=OPTIONS["stpa"],
    backbone="mobilenetv3_small_050",
    backbone_options={},
    top_layer="C",
    num_scales=3,
    downsampling="max",
    flow_stem="mean",
    dropout=0.5,
    class_names=("left", "öffnen", "up"),
    multi_label=False,
    input_size=64,
    short_side=72,
    input_mean=(120.0, 110.0, 100.0),
    input_std=(60.0, 58.0, 57.0),
)


def spec_of(head: str, **changes: Any) -> NetworkSpec:
    """Return SPEC with another head."""
    return replace(SPEC, head=head, head_options=OPTIONS.get(head, {}), **changes)


def with_options(spec: NetworkSpec, **options: Any) -> NetworkSpec:
    """Return `spec` with other options of its head."""
    return replace(spec, head_options=spec.head_options | options)


def random_clips(network: ActionNetwork, num_clips: int = 2, time: int = 3) -> torch.Tensor:
    size = (num_clips, time, network.spec.stream.channels, 64, 64)
    return torch.randint(0, 256, size, dtype=torch.uint8)


@pytest.mark.parametrize("stream", [RGB, FLOW])
@pytest.mark.parametrize("head", ["stpa", "tsn"])
def test_network_classifies_clips_of_any_length(stream: Stream, head: str) -> None:
    network = ActionNetwork(spec_of(head, stream=stream)).eval()
    for time in (1, 4):
        assert network(random_clips(network, time=time)).logits.shape == (2, 3)


def test_order_of_frames_does_not_matter() -> None:
    torch.manual_seed(0)
    network = ActionNetwork(SPEC).eval()
    clips = random_clips(network, time=5)
    with torch.no_grad():
        shuffled = network(clips[:, torch.randperm(5)]).logits
        torch.testing.assert_close(shuffled, network(clips).logits)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("time", [1, 7])
def test_merged_frame_states_classify_as_the_whole_clip(head: str, time: int) -> None:
    torch.manual_seed(0)
    network = ActionNetwork(spec_of(head)).eval()
    clip = random_clips(network, num_clips=1, time=time)
    with torch.no_grad():
        states = network.frame_states(network.pyramid(clip[0]))
        torch.testing.assert_close(network.classify(states), network(clip).logits)


@pytest.mark.parametrize("top_layer", ["A", "B", "C", "FC"])
@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
def test_clips_of_any_size_are_classified(top_layer: str, downsampling: str) -> None:
    spec = replace(SPEC, top_layer=top_layer, downsampling=downsampling, num_scales=1)
    if top_layer != "FC":
        spec = replace(spec, num_scales=2)
    network = ActionNetwork(spec).eval()
    for height, width in ((64, 64), (96, 128), (75, 50)):
        clips = torch.randint(0, 256, (1, 2, 3, height, width), dtype=torch.uint8)
        assert network(clips).logits.isfinite().all()


@pytest.mark.parametrize("head", HEADS)
def test_chunks_recomputed_in_backward_give_the_same_gradients(head: str) -> None:
    torch.manual_seed(0)
    network = ActionNetwork(spec_of(head, dropout=0.0)).double()
    network.mean, network.std = network.mean.double(), network.std.double()
    network.backbone.eval()  # as where all batch norms are frozen
    clips = random_clips(network, time=5)

    def gradients(frames_at_once: int | None) -> dict[str, torch.Tensor]:
        network.zero_grad()
        terms = loss_terms(network(clips, frames_at_once), torch.eye(3)[[0, 1]], multi_label=False)
        sum(terms.values(), torch.zeros(())).backward()
        return {
            name: value.grad.clone()
            for name, value in network.named_parameters()
            if value.grad is not None
        }

    whole = gradients(None)
    for frames_at_once in (1, 2, 4):
        chunked = gradients(frames_at_once)
        assert chunked.keys() == whole.keys()
        for name, gradient in chunked.items():
            torch.testing.assert_close(gradient, whole[name], atol=1e-10, rtol=1e-8, msg=name)


def test_attention_of_chosen_frames_is_part_of_a_map_of_unit_norm() -> None:
    network = ActionNetwork(SPEC).eval()
    with torch.inference_mode():
        pyramid = network.pyramid(random_clips(network, time=6)[0])
        states = network.frame_states(pyramid)
        whole = network.attention_maps(pyramid, states)
        chosen = network.attention_maps([maps[[1, 4]] for maps in pyramid], states)
    torch.testing.assert_close(chosen, whole[[1, 4]])
    torch.testing.assert_close(whole.square().sum(dim=(0, 2, 3)), torch.ones(whole.shape[1]))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("stream", [RGB, FLOW])
def test_evidence_has_a_value_for_each_position_and_a_weight_for_each_frame(
    head: str, stream: Stream
) -> None:
    network = ActionNetwork(spec_of(head, stream=stream)).eval()
    with torch.inference_mode():
        pyramid = network.pyramid(random_clips(network, time=4)[0])
        weights = torch.eye(len(SPEC.class_names))[1]
        evidence, frame_weights = network.evidence(pyramid, weights), network.frame_weights(pyramid)
    assert evidence.shape == (4, *network.backbone.top_size)
    torch.testing.assert_close(frame_weights.sum(), torch.ones(()))
    assert evidence.abs().sum() > 0


@pytest.mark.parametrize("stream", [RGB, FLOW])
def test_saved_model_loads_to_the_same_logits(stream: Stream, tmp_path: Path) -> None:
    network = ActionNetwork(replace(SPEC, stream=stream)).eval()
    save_model(tmp_path / "model", network)
    loaded = load_model(tmp_path / "model")
    clips = random_clips(network)
    assert loaded.spec == network.spec
    with torch.no_grad():
        torch.testing.assert_close(loaded(clips).logits, network(clips).logits, atol=0, rtol=0)


@pytest.mark.parametrize("file", [SPEC_FILE, WEIGHTS_FILE])
@pytest.mark.parametrize("damage", ["absent", "torn"])
def test_damaged_model_folder_is_refused(file: str, damage: str, tmp_path: Path) -> None:
    save_model(tmp_path / "model", ActionNetwork(SPEC))
    path = tmp_path / "model" / file
    content = path.read_bytes()
    path.unlink()
    if damage == "torn":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="not a whole model folder"):
        load_model(tmp_path / "model")


LATER_KEYS = ["score_norm", "flow_stem", "aggregate"]


@pytest.mark.parametrize("head", ["stpa", "tsn"])
@pytest.mark.parametrize("absent", [[], LATER_KEYS])
def test_a_model_from_before_heads_had_options_is_read_as_it_was(
    head: str, absent: list[str]
) -> None:
    spec = spec_of(head)
    written = spec.to_dict() | {"fusion": "product", "map_norm": "l2", "score_norm": "none"}
    written |= {"aggregate": "maps"}
    for key in ("head_options", *absent):
        del written[key]
    read = NetworkSpec.from_dict(json.loads(json.dumps(written)))
    expected = spec if head == "tsn" else with_options(spec, **WITHOUT_LOSSES)
    assert read == expected
    ActionNetwork(read)


WITHOUT_LOSSES = {"interactive_weight": 0.0, "attention_weight": 0.0}
"""Losses change nothing of a trained network, whose spec did not have them."""


@pytest.mark.parametrize("backbone", ["mobilenetv2_100", "resnet10t"])
def test_even_attention_over_features_is_the_average_of_tsn(backbone: str) -> None:
    torch.manual_seed(0)
    spec = with_options(replace(SPEC, backbone=backbone), map_norm="l1", aggregate="features")
    network = ActionNetwork(spec).eval()
    average = ActionNetwork(spec_of("tsn", backbone=backbone)).eval()
    average.backbone.load_state_dict(network.backbone.state_dict())
    average.head.classifier.load_state_dict(network.head.classifier.state_dict())
    for name, parameter in network.head.named_parameters():
        if name.startswith("scores.") and name.endswith("weight"):
            torch.nn.init.zeros_(parameter)
    clips = random_clips(network)
    with torch.no_grad():
        expected = average(clips).logits
        torch.testing.assert_close(network(clips).logits, expected, rtol=1e-4, atol=1e-7)
