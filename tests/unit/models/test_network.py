"""Backbones, the network round them, and model folders."""

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from stpa.errors import ModelError
from stpa.models.backbones import Backbone
from stpa.models.checkpoint import SPEC_FILE, WEIGHTS_FILE, load_model, save_model
from stpa.models.network import ActionNetwork, NetworkSpec

SPEC = NetworkSpec(
    stream="rgb",
    head="stpa",
    backbone="mobilenetv3_small_050",
    backbone_options={},
    num_scales=3,
    fusion="product",
    downsampling="max",
    dropout=0.5,
    class_names=("left", "öffnen", "up"),
    input_size=64,
    short_side=72,
    input_mean=(120.0, 110.0, 100.0),
    input_std=(60.0, 58.0, 57.0),
)


def random_clips(network: ActionNetwork, num_clips: int = 2, time: int = 3) -> torch.Tensor:
    size = (num_clips, time, network.spec.in_channels, 64, 64)
    return torch.randint(0, 256, size, dtype=torch.uint8)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("head", ["stpa", "tsn"])
def test_network_classifies_clips_of_any_length(stream: str, head: str) -> None:
    network = ActionNetwork(replace(SPEC, stream=stream, head=head)).eval()
    for time in (1, 4):
        assert network(random_clips(network, time=time)).logits.shape == (2, 3)


def test_order_of_frames_does_not_matter() -> None:
    torch.manual_seed(0)
    network = ActionNetwork(SPEC).eval()
    clips = random_clips(network, time=5)
    with torch.no_grad():
        shuffled = network(clips[:, torch.randperm(5)]).logits
        torch.testing.assert_close(shuffled, network(clips).logits)


@pytest.mark.parametrize("num_scales", [1, 2, 3, 4])
def test_pyramid_has_the_asked_scales_each_coarser(num_scales: int) -> None:
    backbone = Backbone("resnet18", in_channels=3, num_scales=num_scales).eval()
    pyramid = backbone(torch.zeros(1, 3, 64, 64))
    assert [maps.shape[1] for maps in pyramid] == backbone.channels
    assert [maps.shape[-1] for maps in pyramid] == [16, 8, 4, 2][-num_scales:]
    assert backbone.top_size(64) == (2, 2)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "vgg11"])
def test_flow_stem_is_the_mean_rgb_kernel_repeated(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    cnn = timm.create_model(name)
    weights = tmp_path / "weights.safetensors"
    save_file(cnn.state_dict(), weights)
    flow = Backbone(name, in_channels=10, num_scales=2, pretrained=str(weights))
    stem = next(key for key, value in cnn.state_dict().items() if value.ndim == 4)
    kernel = flow.cnn.state_dict()[stem]
    mean = cnn.state_dict()[stem].mean(dim=1)
    assert kernel.shape[1] == 10
    for channel in range(10):
        torch.testing.assert_close(kernel[:, channel], mean)


def test_pretrained_file_fills_every_layer_that_is_kept(tmp_path: Path) -> None:
    cnn = timm.create_model("resnet18", num_classes=5)
    weights = tmp_path / "weights.safetensors"
    save_file(cnn.state_dict(), weights)
    backbone = Backbone("resnet18", in_channels=3, num_scales=2, pretrained=str(weights))
    expected = cnn.state_dict()
    for key, value in backbone.cnn.state_dict().items():
        torch.testing.assert_close(value, expected[key])


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("weights.pth", b"", "not a .safetensors file"),
        ("absent.safetensors", None, "cannot be read"),
        ("torn.safetensors", b"\x08\x00", "cannot be read"),
    ],
)
def test_unusable_pretrained_file_is_refused(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=complaint):
        Backbone("resnet18", in_channels=3, num_scales=2, pretrained=str(path))


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(timm.create_model("mobilenetv3_small_050").state_dict(), path)
    with pytest.raises(ModelError, match="is not a resnet18"):
        Backbone("resnet18", in_channels=3, num_scales=2, pretrained=str(path))


def test_unknown_backbone_is_refused() -> None:
    with pytest.raises(ModelError, match="resnet81"):
        Backbone("resnet81", in_channels=3, num_scales=2)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_saved_model_loads_to_the_same_logits(stream: str, tmp_path: Path) -> None:
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
