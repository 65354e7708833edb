"""Backbones: timm's CNNs and vision transformers as feature pyramids, of any stream's frames."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pickle import UnpicklingError
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from torch import nn

import stpa.models.bn_inception  # noqa: F401 - registers it with timm
from stpa.errors import ModelError, first_line
from stpa.models.cut import cut, trace
from stpa.models.published import fetch_weights
from stpa.models.stems import AdaptStem, stem_for
from stpa.models.tail import ChannelsFirst, Tail, tail_of_cnn
from stpa.models.tokens import MODULES, TokenMaps, take_tail
from stpa.shapes import Float
from stpa.streams import Stream
from stpa.weights import read_weights

RGB_CHANNELS = 3

CHANNELS_LAST = "NHWC"
"""What timm calls the layout of Swin's maps and a few others'."""

TAPS = {
    # The residual sums before the activation (Du et al., section 4.1): 192@71, 320@35, 1088@17,
    # 2080@8 for 299 px.
    "inception_resnet_v2": ("conv2d_4a", "repeat.9.add", "repeat_1.19.add", "block8.add"),
}
"""The layers of a pyramid, bottom to top, where they are not those of timm's `feature_info`."""

TOP_LAYERS = {"A": 2, "B": 1, "C": 0, "FC": 0}
"""How many layers of `TAPS` are above each top layer of Du et al., table 1a. Above them all, FC
stands for the pooled features."""

BLUE_FIRST = ("bn_inception",)
"""CNNs whose published weights and `pretrained_cfg` take blue, green, red. Here each takes RGB."""

TimmCnn = Any
"""An nn.Module with timm's `pretrained_cfg` and `feature_info`, which no class of timm's
declares."""


class Backbone(nn.Module):
    """A CNN without its classifier, cut at the top layer of the pyramid.

    `forward` gives the pyramid of each frame; `tail` goes on from maps of the top layer to features
    [frames, num_features]: the CNN's remaining layers and its pooling.
    """

    pyramid: nn.Module
    tail: Tail
    channels: tuple[int, ...]
    """Of the pyramid, bottom to top."""
    strides: tuple[int, ...]
    """Of each level to the top one, rounded down."""
    sizes: tuple[tuple[int, int], ...]
    """Height and width of each level at `input_size`, bottom to top."""
    num_features: int
    stem: tuple[nn.Conv2d, ...]
    """The convolutions that take the frames: several where they run side by side."""
    batch_norms: tuple[nn.BatchNorm2d, ...]
    """In the order of the computation, the stem's first."""

    def __init__(
        self,
        name: str,
        *,
        stream: Stream,
        input_size: int,
        num_scales: int,
        top_layer: str = "C",
        pretrained: bool | str = False,
        options: dict[str, str | int | float | bool] | None = None,
        flow_stem: str = "mean",
    ) -> None:
        """Build the CNN for frames of `stream`; `pretrained` is as in `stpa.config.ModelConfig`,
        and `flow_stem`, for optical flow, a name in `FLOW_STEMS`.
        """
        super().__init__()
        cnn = _create(name, pretrained is True, options or {})
        self.stem = _stem(cnn)
        if isinstance(pretrained, str):
            _load_weights(cnn, pretrained)
            if _architecture(name) in BLUE_FIRST:
                _reverse_channels(self.stem)
        if stream.channels != RGB_CHANNELS:
            _adapt(self.stem, stream.channels, stem_for(stream, flow_stem))
        self.pyramid, make_tail = _divide(name, cnn, num_scales, top_layer)
        blank = next(cnn.parameters()).new_zeros(1, stream.channels, *[input_size] * 2)
        with _evaluation(cnn), _noting_batch_norms(cnn) as batch_norms, _naming(name, input_size):
            maps = self.pyramid(blank)
            shapes = [level.shape for level in maps]
            self.channels = tuple(shape[1] for shape in shapes)
            self.sizes = tuple((height, width) for _frames, _channels, height, width in shapes)
            self.tail = make_tail(self.channels[-1], self.top_size)
            self.num_features = self.tail(maps[-1]).shape[1]
        self.batch_norms = tuple(dict.fromkeys(batch_norms))
        self.strides = tuple(height // self.top_size[0] for height, _width in self.sizes)

    def forward(
        self, frames: Float[torch.Tensor, "frames channels height width"]
    ) -> list[Float[torch.Tensor, "frames _channels _height _width"]]:
        """Return the pyramid, bottom to top."""
        return self.pyramid(frames)

    @property
    def top_size(self) -> tuple[int, int]:
        """Height and width of the top map at `input_size`."""
        return self.sizes[-1]


MakeTail = Callable[[int, tuple[int, int]], Tail]
"""From the top map's channels, and its height and width."""


def _divide(name: str, cnn: TimmCnn, num_scales: int, top_layer: str) -> tuple[nn.Module, MakeTail]:
    """Return the module that gives the pyramid, and what makes the tail behind it."""
    if top_layer == "FC":
        return _PooledFeatures(cnn), lambda channels, size: Tail(nn.Identity(), nn.Flatten())
    if _is_transformer(name):
        if top_layer != "C":
            raise ModelError(f"model.top_layer {top_layer} is for CNNs: set C for {name}")
        tail = take_tail(cnn)
        return TokenMaps(cnn, num_scales), lambda channels, size: tail
    pyramid, behind = cut(cnn, trace(cnn), _taps(name, cnn, num_scales, top_layer))
    channels_last = getattr(cnn, "output_fmt", None) == CHANNELS_LAST
    if channels_last:
        pyramid = nn.Sequential(pyramid, _AllChannelsFirst())
    return pyramid, partial(tail_of_cnn, behind, channels_last=channels_last)


@contextmanager
def _noting_batch_norms(cnn: nn.Module) -> Iterator[list[nn.BatchNorm2d]]:
    """Note which batch norms run, in their order."""
    ran: list[nn.BatchNorm2d] = []
    norms = [layer for layer in cnn.modules() if isinstance(layer, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(lambda *_, norm=norm: ran.append(norm)) for norm in norms]
    try:
        yield ran
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _evaluation(cnn: nn.Module) -> Iterator[None]:
    """Run as in evaluation, without gradients."""
    was_training = cnn.training
    cnn.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        cnn.train(was_training)


@contextmanager
def _naming(name: str, input_size: int) -> Iterator[None]:
    """Turn what a CNN fails with into one line."""
    try:
        yield
    except (RuntimeError, AssertionError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(
            f"model.backbone {name} gives no feature maps for train.input_size {input_size} "
            f"({first_line(error)}): take another size, or a CNN"
        ) from error


class _AllChannelsFirst(nn.Module):
    """Each level of a pyramid from channels last to channels first."""

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        to_first = ChannelsFirst()
        return [to_first(level) for level in maps]


class _PooledFeatures(nn.Module):
    """A whole CNN as a pyramid of one map: its pooled features at a single position."""

    def __init__(self, cnn: nn.Module) -> None:
        super().__init__()
        self.cnn = cnn

    def forward(self, frames: torch.Tensor) -> list[torch.Tensor]:
        return [self.cnn(frames)[..., None, None]]


def known_backbone(name: str) -> bool:
    """Tell whether timm has a model of this name, and weights of its tag if it has one."""
    architecture = _architecture(name)
    if not timm.is_model(architecture):
        return False
    return name == architecture or name in timm.models.get_arch_pretrained_cfgs(architecture)


def published_normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the deviation of the input that a CNN's published weights expect.

    Both are per RGB channel, in 0-255.
    """
    _check_known(name)
    published = timm.models.get_pretrained_cfg(name)
    step = -1 if _architecture(name) in BLUE_FIRST else 1
    mean, std = (
        tuple(255 * share for share in getattr(published, key)[::step]) for key in ("mean", "std")
    )
    return mean, std


def _architecture(name: str) -> str:
    return name.split(".")[0]


def _is_transformer(name: str) -> bool:
    return timm.models.is_model_in_modules(_architecture(name), MODULES)


def _check_known(name: str) -> None:
    if not known_backbone(name):
        raise ModelError(
            f"unknown model.backbone {name!r}: give a name that timm.list_models() lists"
        )


def _create(name: str, pretrained: bool, options: dict) -> TimmCnn:
    _check_known(name)
    file = fetch_weights(name) if pretrained else None
    # Without the file, timm would ask the hub each time, for minutes where there is no network.
    source = {"file": str(file)} if file else None
    if _is_transformer(name):  # else it takes images of one size alone
        options = {"dynamic_img_size": True} | options
    try:
        # Without classes, timm's CNNs end at the pooled features.
        cnn = timm.create_model(
            name, pretrained=pretrained, num_classes=0, pretrained_cfg_overlay=source, **options
        )
    except (TypeError, ValueError) as error:
        raise ModelError(f"model.backbone_options do not suit {name}: {error}") from error
    except (OSError, RuntimeError, SafetensorError, UnpicklingError) as error:
        advice = f"remove {file} and try again" if file else "check the network"
        raise ModelError(
            f"the published weights of {name} cannot be read ({first_line(error)}): {advice}, "
            "or set model.pretrained to a weights file or to false"
        ) from error
    if not hasattr(cnn, "feature_info"):
        raise ModelError(f"timm's {name} does not name its feature maps: take another")
    return cnn


def _taps(name: str, cnn: TimmCnn, num_scales: int, top_layer: str) -> tuple[str, ...]:
    known = TAPS.get(_architecture(name)) or tuple(info["module"] for info in cnn.feature_info)
    below_top = known[: len(known) - TOP_LAYERS[top_layer]]
    if num_scales > len(below_top):
        raise ModelError(
            f"{name} has {len(below_top)} feature maps up to model.top_layer {top_layer}, "
            f"not model.num_scales {num_scales}"
        )
    return below_top[-num_scales:]


def _load_weights(cnn: TimmCnn, location: str) -> None:
    """Load a whole network's weights strictly, save for its classifier."""
    classifier = tuple(f"{name}." for name in _names(cnn.pretrained_cfg["classifier"]))
    weights = read_weights(location)
    try:
        missing, unexpected = cnn.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        *_, reason = str(error).strip().splitlines()
        raise ModelError(
            f"model.pretrained {location} is not a {cnn.pretrained_cfg['architecture']}: "
            f"{reason.strip()}"
        ) from error
    differing = [
        key
        for key in (*missing, *unexpected)
        if not key.startswith(classifier) and not key.endswith("num_batches_tracked")
    ]
    if differing:
        raise ModelError(
            f"model.pretrained {location} is not a {cnn.pretrained_cfg['architecture']}: "
            f"{len(differing)} tensors are absent or unknown, {differing[0]} first"
        )


def _stem(cnn: TimmCnn) -> tuple[nn.Conv2d, ...]:
    layers = dict(cnn.named_modules())
    first = [layers.get(name) for name in _names(cnn.pretrained_cfg["first_conv"])]
    stem = [each for each in first if isinstance(each, nn.Conv2d)]
    if not stem or [each.in_channels for each in stem] != [RGB_CHANNELS] * len(first):
        raise ModelError(
            f"{type(cnn).__name__} does not begin with convolutions of RGB frames, "
            "which other streams need: take another model.backbone"
        )
    return tuple(stem)


def _reverse_channels(stem: tuple[nn.Conv2d, ...]) -> None:
    for convolution in stem:
        convolution.weight = nn.Parameter(convolution.weight.detach().flip(1))


def _adapt(stem: tuple[nn.Conv2d, ...], num_channels: int, adapt: AdaptStem) -> None:
    """Make first convolutions take another number of channels."""
    for convolution in stem:
        convolution.in_channels = num_channels
        convolution.weight = nn.Parameter(adapt(convolution.weight.detach(), num_channels))


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
