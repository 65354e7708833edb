"""BN-Inception against the published weights' layout and plain arithmetic."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from stpa.models.bn_inception import BNInception, HalvingMaxPool

PARAMETERS = 11_295_240
"""Of the published network: 10,270,240 and a classifier of 1000 classes over 1024 features."""

BRANCHES = {
    # block: inputs, then each branch's widths, as TSN's description of the network lists them
    "3a": (192, (64,), (64, 64), (64, 96, 96), (32,)),
    "3b": (256, (64,), (64, 96), (64, 96, 96), (64,)),
    "3c": (320, (), (128, 160), (64, 96, 96), ()),
    "4a": (576, (224,), (64, 96), (96, 128, 128), (128,)),
    "4b": (576, (192,), (96, 128), (96, 128, 128), (128,)),
    "4c": (576, (160,), (128, 160), (128, 160, 160), (128,)),
    "4d": (608, (96,), (128, 192), (160, 192, 192), (128,)),
    "4e": (608, (), (128, 192), (192, 256, 256), ()),
    "5a": (1056, (352,), (192, 320), (160, 224, 224), (128,)),
    "5b": (1024, (352,), (192, 320), (192, 224, 224), (128,)),
}


def convolution_shapes() -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    yield "conv1_7x7_s2", (64, 3, 7, 7)
    yield "conv2_3x3_reduce", (64, 64, 1, 1)
    yield "conv2_3x3", (192, 64, 3, 3)
    steps = (
        (("1x1", 1),),
        (("3x3_reduce", 1), ("3x3", 3)),
        (("double_3x3_reduce", 1), ("double_3x3_1", 3), ("double_3x3_2", 3)),
        (("pool_proj", 1),),
    )
    for block, (inputs, *branches) in BRANCHES.items():
        for branch_steps, widths in zip(steps, branches, strict=True):
            named = zip(branch_steps, pairwise((inputs, *widths)), strict=False)
            for (step, kernel), (given, made) in named:
                yield f"inception_{block}_{step}", (made, given, kernel, kernel)


def published_shapes() -> dict[str, tuple[int, ...]]:
    """The layout of the published file, which predates `num_batches_tracked`."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, weight in convolution_shapes():
        shapes |= {f"{name}.weight": weight, f"{name}.bias": weight[:1]}
        for statistic in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}_bn.{statistic}"] = weight[:1]
    return shapes | {"last_linear.weight": (1000, 1024), "last_linear.bias": (1000,)}


def published_weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(shape, generator=generator) for name, shape in published_shapes().items()
    }


def create(**options: Any) -> BNInception:
    model = timm.create_model("bn_inception", **options)
    assert isinstance(model, BNInception)
    return model


@pytest.fixture(scope="module")
def network() -> BNInception:
    """A network whose BatchNorm statistics and biases are not those of a fresh one."""
    torch.manual_seed(0)
    model = create()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


class LeafTracer(torch.fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(m.children())


def test_state_dict_has_the_published_names_and_shapes(network: BNInception) -> None:
    shapes = {
        name: tuple(value.shape)
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert shapes == published_shapes()
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS


def test_published_weights_load_strictly() -> None:
    weights = published_weights()
    model = create()
    model.load_state_dict(weights, strict=True)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_tsns_own_file_loads_strictly() -> None:
    weights = published_weights()
    first_conversion = {
        name.replace("last_linear", "fc"): value[None] if "_bn." in name else value
        for name, value in weights.items()
    }
    model = create()
    model.load_state_dict(first_conversion, strict=True)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_foreign_weights_are_refused() -> None:
    weights = published_weights()
    weights["inception_6a_1x1.weight"] = weights.pop("inception_3a_1x1.weight")
    with pytest.raises(RuntimeError, match="inception_3a_1x1"):
        create().load_state_dict(weights, strict=True)


@pytest.mark.parametrize("size", [224, 160])
def test_taps_precede_each_halving(network: BNInception, size: int) -> None:
    modules = [tap["module"] for tap in network.feature_info]
    shapes: dict[str, tuple[int, ...]] = {}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda *call, name=name: shapes.update({name: tuple(call[-1].shape)})
        )
        for name in modules
    ]
    with torch.no_grad():
        network.forward_features(torch.randn(1, 3, size, size))
    for handle in handles:
        handle.remove()
    assert shapes == {
        "conv1_7x7_s2_relu": (1, 64, size // 2, size // 2),
        "conv2_3x3_relu": (1, 192, size // 4, size // 4),
        "inception_3b_output": (1, 320, size // 8, size // 8),
        "inception_4d_output": (1, 608, size // 16, size // 16),
        "inception_5b_output": (1, 1024, size // 32, size // 32),
    }
    assert [(tap["num_chs"], size // tap["reduction"]) for tap in network.feature_info] == [
        shape[1:3] for shape in shapes.values()
    ]


def top_size(side: int) -> int:
    """The stem's convolution and each later block round up, the stem's two poolings down."""
    stem = (side + 1) // 2 // 2 // 2
    return ((stem + 1) // 2 + 1) // 2


@pytest.mark.parametrize(("height", "width"), [(16, 47), (90, 72), (122, 340)])
def test_any_size_passes(network: BNInception, height: int, width: int) -> None:
    with torch.no_grad():
        maps = network.forward_features(torch.randn(1, 3, height, width))
    assert isinstance(maps, torch.Tensor)
    assert maps.shape == (1, 1024, top_size(height), top_size(width))


def naive_convolution(
    network: BNInception, name: str, x: torch.Tensor, stride: int
) -> torch.Tensor:
    state = {key: value.double() for key, value in network.state_dict().items()}
    weight = state[f"{name}.weight"]
    x = F.conv2d(x, weight, state[f"{name}.bias"], stride, padding=weight.shape[-1] // 2)
    mean, variance, scale, shift = (
        state[f"{name}_bn.{key}"][:, None, None]
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)


@pytest.mark.parametrize(
    ("block", "stride"), [("3a", 1), ("3c", 2), ("4e", 2), ("5a", 1), ("5b", 1)]
)
def test_block_does_the_papers_arithmetic(network: BNInception, block: str, stride: int) -> None:
    x = torch.rand(2, BRANCHES[block][0], 8, 6, generator=torch.Generator().manual_seed(1)).double()

    def branch(start: torch.Tensor, *steps: str) -> torch.Tensor:
        for step in steps:
            strided = stride if step in ("3x3", "double_3x3_2") else 1
            start = naive_convolution(network, f"inception_{block}_{step}", start, strided)
        return start

    middle = [
        branch(x, "3x3_reduce", "3x3"),
        branch(x, "double_3x3_reduce", "double_3x3_1", "double_3x3_2"),
    ]
    if stride == 2:
        expected = [*middle, F.max_pool2d(x, 3, stride=2, ceil_mode=True)]
    else:
        around = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)
        pooled = around.amax((-2, -1)) if block == "5b" else around.mean((-2, -1))
        expected = [branch(x, "1x1"), *middle, branch(pooled, "pool_proj")]
    with torch.no_grad():
        output = network._mix(x.float(), f"inception_{block}")
    assert isinstance(output, torch.Tensor)
    torch.testing.assert_close(output.double(), torch.cat(expected, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [2, 14, 28])
def test_halving_pool_equals_caffes_on_even_sizes(size: int) -> None:
    x = torch.rand(2, 3, size, size)
    assert torch.equal(HalvingMaxPool()(x), F.max_pool2d(x, 3, stride=2, ceil_mode=True))


def test_trace_by_leaf_modules_keeps_the_taps_and_the_result(network: BNInception) -> None:
    graph = LeafTracer().trace(network)
    nodes = {node.target for node in graph.nodes if node.op == "call_module"}
    assert {tap["module"] for tap in network.feature_info} < nodes
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(torch.fx.GraphModule(network, graph)(x), network(x))


def test_compiled_network_gives_the_same_in_one_graph(network: BNInception) -> None:
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), network(x))


def test_channels_last_stays_channels_last(network: BNInception) -> None:
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = network.forward_features(x.to(memory_format=torch.channels_last))
        assert isinstance(maps, torch.Tensor)
        assert maps.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(maps, network.forward_features(x), rtol=1e-3, atol=1e-4)


def test_bfloat16_autocast_is_close(network: BNInception) -> None:
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(x)
    assert rounded.dtype is torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)


def test_checkpointed_gradients_equal_the_plain_ones(network: BNInception) -> None:
    x = torch.randn(1, 3, 64, 64)

    def gradient() -> torch.Tensor:
        network.zero_grad()
        network(x).square().sum().backward()
        stem = network.get_submodule("conv1_7x7_s2").weight.grad
        assert isinstance(stem, torch.Tensor)
        return stem.clone()

    plain = gradient()
    network.set_grad_checkpointing(True)
    try:
        torch.testing.assert_close(gradient(), plain)
    finally:
        network.set_grad_checkpointing(False)


def test_head_can_be_replaced_or_left_out() -> None:
    model = create(num_classes=7, in_chans=10, drop_rate=0.5)
    x = torch.randn(2, 10, 64, 64)
    assert model(x).shape == (2, 7)
    maps = model.forward_features(x)
    assert model.forward_head(maps, pre_logits=True).shape == (2, 1024)
    model.reset_classifier(0)
    assert isinstance(model.get_classifier(), nn.Identity)
    assert model.eval()(x).shape == (2, 1024)


def test_normalisation_is_caffes_in_0_to_255() -> None:
    config = timm.models.get_pretrained_cfg("bn_inception")
    assert config is not None
    levels = torch.tensor([104.0, 0.0, 255.0])
    normalised = (levels / 255 - torch.tensor(config.mean)) / torch.tensor(config.std)
    torch.testing.assert_close(normalised, torch.tensor([0.0, -117.0, 127.0]), rtol=0, atol=1e-3)


def test_pretrained_without_a_file_is_refused() -> None:
    with pytest.raises(RuntimeError, match="No pretrained weights exist"):
        create(pretrained=True)
