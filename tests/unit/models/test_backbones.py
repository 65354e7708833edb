"""Backbones: cut anywhere, they compute what timm's own network does, from published weights."""

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from stpa.errors import ModelError
from stpa.models.backbones import Backbone, published_normalisation
from stpa.models.cut import cut, trace
from stpa.streams import FLOW, RGB
from tests.twin import tsn_twin

PAPER = ["inception_resnet_v2", "bn_inception"]
OTHERS = ["resnet18", "mobilenetv2_100", "mobilenetv3_small_050", "densenet121", "convnext_atto"]
FEW_CUTS = [("A", 1), ("C", 4)]  # of networks that take seconds to make
CUTS = [*FEW_CUTS, ("A", 2), ("B", 3), ("C", 1), ("FC", 1)]


def build(name: str, **changed: Any) -> Backbone:
    settings: dict[str, Any] = {"stream": RGB, "input_size": 64, "num_scales": 3}
    return Backbone(name, **(settings | changed))


def save_weights(name: str, folder: Path) -> tuple[Any, Path]:
    """Make a network whose normalisations are not neutral, and its weights file."""
    torch.manual_seed(0)
    cnn = timm.create_model(name)
    for module in cnn.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    save_file(cnn.state_dict(), folder / "weights.safetensors")
    return cnn.eval(), folder / "weights.safetensors"


@pytest.mark.parametrize(
    "name", [*PAPER, *OTHERS, pytest.param("vgg16_bn", marks=pytest.mark.slow)]
)
def test_cut_anywhere_it_computes_what_the_whole_network_does(name: str, tmp_path: Path) -> None:
    size = 96 if name == "inception_resnet_v2" else 64
    cnn, weights = save_weights(name, tmp_path)
    frames = torch.randn(2, 3, size, size)
    cnn.reset_classifier(0)
    with torch.no_grad():
        expected = cnn(frames.flip(1) if name == "bn_inception" else frames)
        for top_layer, num_scales in FEW_CUTS if name in (*PAPER, "vgg16_bn") else CUTS:
            backbone = build(
                name,
                input_size=size,
                top_layer=top_layer,
                num_scales=num_scales,
                pretrained=str(weights),
            ).eval()
            features = backbone.tail(backbone(frames)[-1])
            torch.testing.assert_close(features, expected, msg=f"cut at {top_layer}")


@pytest.mark.parametrize(
    ("name", "size", "shapes"),
    [
        ("inception_resnet_v2", 299, [(192, 71), (320, 35), (1088, 17), (2080, 8)]),
        ("inception_resnet_v2", 224, [(192, 52), (320, 25), (1088, 12), (2080, 5)]),
        ("bn_inception", 224, [(192, 56), (320, 28), (608, 14), (1024, 7)]),
        ("vgg16", 224, [(256, 56), (512, 28), (512, 14), (512, 7)]),
        ("vgg16_bn", 224, [(256, 56), (512, 28), (512, 14), (512, 7)]),
    ],
)
def test_pyramid_has_the_shapes_of_the_paper(name: str, size: int, shapes: list) -> None:
    backbone = build(name, input_size=size, num_scales=4).eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, size, size))
    assert [level.shape[1:] for level in maps] == [(c, side, side) for c, side in shapes]
    assert backbone.channels == tuple(channels for channels, _ in shapes)
    assert backbone.top_size == (shapes[-1][1],) * 2


def test_inception_resnet_gives_the_residual_sums_before_the_activation() -> None:
    torch.manual_seed(0)
    cnn = timm.create_model("inception_resnet_v2", num_classes=0).eval()
    backbone = build("inception_resnet_v2", input_size=96, num_scales=3).eval()
    weights = {
        key: value for key, value in cnn.state_dict().items() if not key.startswith("classif.")
    }
    backbone.pyramid.load_state_dict(weights, strict=False)
    activated: dict[str, torch.Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        activated[name] = output.clone()

    for name in ("repeat.9", "repeat_1.19"):
        cnn.get_submodule(name).register_forward_hook(partial(keep, name))
    frames = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        cnn(frames)
        maps = backbone(frames)
    for level, name in zip(maps, activated, strict=False):
        assert float(level.min()) < 0
        torch.testing.assert_close(level.relu(), activated[name])
    assert float(maps[-1].min()) < 0


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "bn_inception"])
def test_flow_stem_is_tsns_cross_modality_kernel(name: str, tmp_path: Path) -> None:
    cnn, weights = save_weights(name, tmp_path)
    flow = build(name, stream=FLOW, num_scales=2, pretrained=str(weights))
    stem = next(key for key, value in cnn.state_dict().items() if value.ndim == 4)
    kernel, adapted = cnn.state_dict()[stem], flow.state_dict()[f"pyramid.{stem}"]
    for taps, expected in zip(adapted[:2].movedim(1, 3), kernel[:2].movedim(1, 3), strict=True):
        for got, rgb in zip(taps.flatten(0, 1), expected.flatten(0, 1), strict=True):
            naive = tsn_twin.cross_modality_kernel(rgb.tolist(), 10)
            assert got.tolist() == pytest.approx(naive, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["vgg16_bn", "mobilenetv2_100", "inception_resnet_v2"])
@pytest.mark.parametrize("top_layer", ["A", "FC"])
def test_first_batch_norm_is_the_stems(name: str, top_layer: str) -> None:
    backbone = build(name, input_size=96, num_scales=1, top_layer=top_layer)
    norms = list(backbone.batch_norms)
    widths = {"vgg16_bn": 64, "mobilenetv2_100": 32, "inception_resnet_v2": 32}
    assert norms[0].num_features == widths[name]
    whole = timm.create_model(name)
    assert len(norms) == sum(isinstance(each, nn.BatchNorm2d) for each in whole.modules())


@pytest.mark.parametrize("top_layer", ["A", "FC"])
def test_batch_norms_come_in_the_order_of_the_computation(top_layer: str) -> None:
    backbone = build("repvgg_a0", num_scales=1, top_layer=top_layer).eval()
    ran: list[nn.Module] = []
    for norm in backbone.batch_norms:
        norm.register_forward_hook(lambda norm, *_: ran.append(norm))
    backbone.tail(backbone(torch.zeros(1, 3, 64, 64))[-1])
    assert ran == list(backbone.batch_norms)


@pytest.mark.parametrize("name", ["repvgg_a0", "mobileone_s0", "fastvit_t8"])
@pytest.mark.parametrize("top_layer", ["C", "FC"])
def test_every_branch_of_a_stem_is_adapted_to_flow(name: str, top_layer: str) -> None:
    backbone = build(name, stream=FLOW, num_scales=1, top_layer=top_layer)
    assert len(backbone.stem) == 2
    for convolution in backbone.stem:
        assert convolution.weight.shape[1] == 10
        assert any(convolution is layer for layer in backbone.pyramid.modules())


@pytest.mark.parametrize("name", ["tresnet_m", "csatv2"])
def test_cnn_that_does_not_begin_with_a_convolution_of_frames_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="does not begin with convolutions of RGB frames"):
        build(name)


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("resnet18", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("inception_resnet_v2", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        ("tf_efficientnet_b0.in1k", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("tf_efficientnet_b0.ap_in1k", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        ("bn_inception", (128, 117, 104), (1, 1, 1)),  # red, green, blue
    ],
)
def test_published_normalisation_is_that_of_the_weights(name: str, mean: Any, std: Any) -> None:
    found_mean, found_std = published_normalisation(name)
    assert found_mean == pytest.approx(mean)
    assert found_std == pytest.approx(std)


def test_layer_that_is_not_computed_is_told_by_the_network_s_name() -> None:
    cnn = timm.create_model("resnet18")
    with pytest.raises(ModelError, match=r"^ResNet computes no layer 'layer9': take another"):
        cut(cnn, trace(cnn), ["layer9"])


def test_unusable_top_layers_are_refused() -> None:
    with pytest.raises(ModelError, match="has 3 feature maps up to"):
        build("resnet18", num_scales=4, top_layer="A")
    with pytest.raises(ModelError, match="cannot be cut at"):
        build("legacy_xception", top_layer="B")


def test_published_weights_of_any_classes_fill_every_layer(tmp_path: Path) -> None:
    cnn = timm.create_model("resnet18", num_classes=5)
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": cnn.state_dict()}, path)
    backbone = build("resnet18", num_scales=2, pretrained=str(path))
    expected = cnn.state_dict()
    for key, value in backbone.pyramid.state_dict().items():
        torch.testing.assert_close(value, expected[key])


@pytest.mark.parametrize(
    ("other", "complaint"),
    [("resnet34", "tensors are absent or unknown"), ("mobilenetv3_small_050", "not a resnet18")],
)
def test_weights_of_another_architecture_are_refused(
    other: str, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    save_file(timm.create_model(other).state_dict(), path)
    with pytest.raises(ModelError, match=complaint):
        build("resnet18", num_scales=2, pretrained=str(path))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("resnet81", "resnet81"),
        ("resnet18.imagenet", "unknown model.backbone 'resnet18.imagenet'"),
    ],
)
def test_backbone_that_is_not_usable_is_refused(name: str, complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        build(name, num_scales=2)


def test_unsuitable_backbone_options_are_refused() -> None:
    with pytest.raises(ModelError, match="backbone_options do not suit resnet18"):
        build("resnet18", options={"colour": "red"})


@pytest.mark.parametrize("name", ["mambaout_femto", "swin_tiny_patch4_window7_224"])
def test_channels_last_maps_are_read_by_their_channels(name: str, tmp_path: Path) -> None:
    size = 224 if name.startswith("swin") else 64
    torch.manual_seed(0)
    cnn: Any = timm.create_model(name, num_classes=0).eval()
    save_file(timm.create_model(name).state_dict(), tmp_path / "weights.safetensors")
    backbone = build(name, input_size=size, pretrained=str(tmp_path / "weights.safetensors")).eval()
    cnn.load_state_dict(
        {
            key: value
            for key, value in load_file(tmp_path / "weights.safetensors").items()
            if key in cnn.state_dict()
        }
    )
    frames = torch.randn(2, 3, size, size)
    with torch.no_grad():
        maps = backbone(frames)
        assert [level.shape[1] for level in maps] == [info["num_chs"] for info in cnn.feature_info][
            -3:
        ]
        assert backbone.channels == tuple(level.shape[1] for level in maps)
        assert backbone.top_size == tuple(maps[-1].shape[2:])
        torch.testing.assert_close(backbone.tail(maps[-1]), cnn(frames))


EMBEDS = {
    "mobilenetv2_100": ("C", (320, 1280)),  # the convolution before the pooling
    "mobilenetv3_small_050": ("C", (288, 288)),  # the convolution is behind the pooling
    "resnet18": ("C", (512, 512)),
    "inception_resnet_v2": ("C", (2080, 1536)),
    "vgg16": ("C", (512, 512)),  # the layer before the pooling mixes positions
    "swin_tiny_patch4_window7_224": ("C", (768, 768)),  # a norm
}


@pytest.mark.parametrize(("name", "case"), EMBEDS.items(), ids=EMBEDS)
def test_the_tail_parts_where_positions_begin_to_mix(name: str, case: tuple) -> None:
    top_layer, channels = case
    size = {"inception_resnet_v2": 139, "swin_tiny_patch4_window7_224": 224}.get(name, 96)
    torch.manual_seed(0)
    backbone = build(name, input_size=size, top_layer=top_layer).eval()
    maps = torch.rand(2, channels[0], *backbone.top_size)
    with torch.no_grad():
        embedded = backbone.tail.embed(maps)
        assert embedded.shape == (2, channels[1], *backbone.top_size)
        torch.testing.assert_close(backbone.tail.pool(embedded), backbone.tail(maps))
        order = torch.randperm(embedded[0, 0].numel())
        shuffled = maps.flatten(2)[..., order].view_as(maps)
        expected = embedded.flatten(2)[..., order].view_as(embedded)
        torch.testing.assert_close(backbone.tail.embed(shuffled), expected, rtol=1e-4, atol=1e-4)
        if name == "swin_tiny_patch4_window7_224":
            assert not torch.allclose(embedded, maps)  # its norm is before the pooling


@pytest.mark.parametrize("top_layer", ["A", "B"])
def test_layers_that_mix_positions_stay_behind_the_attention(top_layer: str) -> None:
    backbone = build("resnet18", input_size=96, top_layer=top_layer).eval()
    maps = torch.rand(2, backbone.channels[-1], *backbone.top_size)
    with torch.no_grad():
        assert torch.equal(backbone.tail.embed(maps), maps)


def test_the_parts_of_a_copied_tail_have_the_copy_s_weights() -> None:
    copy = deepcopy(build("mobilenetv2_100", input_size=64)).eval()
    maps = torch.rand(1, 320, *copy.top_size)
    with torch.no_grad():
        before = copy.tail.embed(maps)
        for parameter in copy.tail.parameters():
            parameter.zero_()
        assert not torch.equal(copy.tail.embed(maps), before)
        assert not copy.tail(maps).any()


TRANSFORMERS = {
    "vit_tiny_patch16_224": 16,
    "deit_tiny_patch16_224": 16,
    "vit_small_patch14_dinov2": 14,
    "eva02_tiny_patch14_224": 14,
    "vit_small_patch16_dinov3": 16,
    "vit_base_patch16_siglip_224": 16,
}
"""And the side of a patch, px."""


def test_constants_of_a_tail_follow_its_weights() -> None:
    name = "swin_tiny_patch4_window7_224"
    backbone = build(name, input_size=224, top_layer="A", num_scales=1).double()
    maps = torch.rand(1, backbone.channels[-1], *backbone.top_size, dtype=torch.float64)
    floating = [
        constant.dtype
        for part in backbone.tail._parts
        for constant in part.buffers()
        if constant.is_floating_point()
    ]
    assert floating
    assert set(floating) == {torch.float64}
    assert backbone.eval().tail(maps).dtype == torch.float64


@pytest.mark.parametrize(("name", "patch"), TRANSFORMERS.items(), ids=TRANSFORMERS)
def test_the_patches_of_a_transformer_are_the_positions_of_maps(name: str, patch: int) -> None:
    torch.manual_seed(0)
    size = 5 * patch  # not the size that it was published for
    backbone = build(name, input_size=size, num_scales=2).eval()
    torch.manual_seed(0)
    whole: Any = timm.create_model(name, num_classes=0, dynamic_img_size=True).eval()
    frames = torch.randn(2, 3, size, size)
    with torch.no_grad():
        maps = backbone(frames)
        tokens = whole.forward_features(frames)[:, whole.num_prefix_tokens :]
        embedded = backbone.tail.embed(maps[-1])
        torch.testing.assert_close(embedded.flatten(2).mT, tokens, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            backbone.tail(maps[-1]), whole.fc_norm(tokens.mean(dim=1)), rtol=1e-4, atol=1e-4
        )
    assert backbone.strides == (1, 1)
    assert backbone.top_size == (5, 5)
    names = {name.split(".")[0] for name, _ in backbone.named_parameters()}
    assert names == {"pyramid", "tail"} or not list(backbone.tail.parameters())


def test_all_weights_of_a_transformer_learn(tmp_path: Path) -> None:
    backbone = build("vit_tiny_patch16_224", input_size=32, stream=FLOW).train()
    backbone.tail(backbone(torch.randn(2, 10, 32, 32))[-1]).sum().backward()
    assert [name for name, value in backbone.named_parameters() if value.grad is None] == []
    save_file(dict(backbone.state_dict()), tmp_path / "weights.safetensors")  # none is shared


def test_a_transformer_is_cut_behind_its_last_block_alone() -> None:
    with pytest.raises(ModelError, match="set C for vit_tiny_patch16_224"):
        build("vit_tiny_patch16_224", input_size=64, top_layer="B")
    with pytest.raises(ModelError, match="12 blocks make no pyramid of 13 scales"):
        build("vit_tiny_patch16_224", input_size=64, num_scales=13)


def test_a_network_without_maps_is_refused_by_name() -> None:
    name = "efficientformer_l1"
    with pytest.raises(ModelError, match=f"model.backbone {name} gives no feature maps"):
        build(name, input_size=224)
