"""Backbones: any timm CNN as a feature pyramid, for RGB frames or stacks of optical flow."""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from stpa.errors import ModelError
from stpa.files import digest_file
from stpa.shapes import Float

RGB_CHANNELS = 3

TimmCnn = Any
"""An nn.Module with timm's `pretrained_cfg`, `feature_info` and intermediate-feature methods,
which no class of timm's declares."""


class Backbone(nn.Module):
    """The feature maps of a timm CNN's last `num_scales` resolutions, bottom to top."""

    def __init__(
        self,
        name: str,
        *,
        in_channels: int,
        num_scales: int,
        pretrained: bool | str = False,
        options: dict[str, str | int | float | bool] | None = None,
    ) -> None:
        """Build the CNN; `pretrained` is as in `stpa.config.ModelConfig`.

        Other than three input channels get TSN's cross-modality initialisation.
        """
        super().__init__()
        self.cnn: TimmCnn = _create(name, pretrained is True, options or {})
        if isinstance(pretrained, str):
            _load_weights(self.cnn, Path(pretrained))
        self.taps = self.cnn.prune_intermediate_layers(num_scales, prune_head=True)
        self.channels: list[int] = [self.cnn.feature_info[tap]["num_chs"] for tap in self.taps]
        if in_channels != RGB_CHANNELS:
            _adapt_to_modality(self.cnn, in_channels)

    def forward(
        self, frames: Float[torch.Tensor, "frames channels height width"]
    ) -> list[Float[torch.Tensor, "frames _channels _height _width"]]:
        """Return the pyramid, bottom to top."""
        return self.cnn.forward_intermediates(frames, indices=self.taps, intermediates_only=True)

    @torch.no_grad()
    def top_size(self, input_size: int) -> tuple[int, int]:
        """Return the height and width of the top map for a square input of `input_size` px."""
        parameter = next(self.parameters())
        stem = _first_convolution(self.cnn)
        blank = parameter.new_zeros(1, stem.in_channels, input_size, input_size)
        was_training = self.training
        height, width = self.eval()(blank)[-1].shape[-2:]
        self.train(was_training)
        return height, width


def known_backbone(name: str) -> bool:
    """Tell whether timm has a model of this name."""
    return timm.is_model(name.split(".")[0])


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a weights file; raise ModelError where it cannot be read."""
    try:
        return digest_file(path)
    except OSError as error:
        raise ModelError(f"model.pretrained {path} cannot be read: {_first_line(error)}") from error


def _create(name: str, pretrained: bool, options: dict) -> TimmCnn:
    if not known_backbone(name):
        raise ModelError(
            f"unknown model.backbone {name!r}: give a name that timm.list_models() lists"
        )
    try:
        cnn = timm.create_model(name, pretrained=pretrained, **options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model.backbone_options do not suit {name}: {error}") from error
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"the published weights of {name} cannot be fetched ({_first_line(error)}): "
            "check the network, or set model.pretrained to a .safetensors file or to false"
        ) from error
    if not hasattr(cnn, "prune_intermediate_layers"):
        raise ModelError(f"timm's {name} does not give its intermediate feature maps: take another")
    return cnn


def _load_weights(cnn: TimmCnn, path: Path) -> None:
    """Load a whole network's weights strictly, save for a classifier of other classes."""
    if path.suffix != ".safetensors":
        raise ModelError(f"model.pretrained {path} is not a .safetensors file: convert it first")
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"model.pretrained {path} cannot be read: {_first_line(error)}") from error
    expected = cnn.state_dict()
    classifier = tuple(f"{name}." for name in _names(cnn.pretrained_cfg["classifier"]))
    differing = sorted(
        key
        for key in expected.keys() | weights.keys()
        if not key.startswith(classifier)
        and not key.endswith("num_batches_tracked")
        and (key not in expected or key not in weights or expected[key].shape != weights[key].shape)
    )
    if differing:
        raise ModelError(
            f"model.pretrained {path} is not a {cnn.pretrained_cfg['architecture']}: "
            f"{len(differing)} tensors are absent or of another shape, {differing[0]} first"
        )
    kept = {key: value for key, value in weights.items() if not key.startswith(classifier)}
    cnn.load_state_dict(kept, strict=False)


def _adapt_to_modality(cnn: TimmCnn, in_channels: int) -> None:
    """Give the first convolution `in_channels`: the mean RGB kernel, repeated, not rescaled.

    TSN's cross-modality initialisation (Wang et al., ECCV 2016, section 3.3).
    """
    stem = _first_convolution(cnn)
    mean_kernel = stem.weight.detach().mean(dim=1, keepdim=True)
    stem.in_channels = in_channels
    stem.weight = nn.Parameter(mean_kernel.repeat(1, in_channels, 1, 1))


def _first_convolution(cnn: TimmCnn) -> nn.Conv2d:
    stem = cnn.get_submodule(_names(cnn.pretrained_cfg["first_conv"])[0])
    assert isinstance(stem, nn.Conv2d), type(stem)
    return stem


def _names(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
