"""BN-Inception as TSN used it, a CNN that timm lacks (Ioffe and Szegedy, ICML 2015).

Importing this module registers `bn_inception` with timm. The state dict has the names and shapes
of the weights converted from Caffe, which load strictly; timm has nowhere to fetch them from, so
they come by file. They expect blue, green and red in 0-255 less 104, 117 and 128:
`pretrained_cfg` says so in timm's terms, `(x / 255 - mean) / std`, channels in the same order.
`stpa.models.backbones` turns both round.
"""

from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from timm.layers.classifier import create_classifier
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn
from torch.utils.checkpoint import checkpoint

_BLOCKS = {
    # Channels: 1x1, 3x3_reduce, 3x3, double_3x3_reduce, double_3x3_1 and _2, pool_proj.
    # A block without the first and the last halves the map.
    "inception_3a": (64, 64, 64, 64, 96, 32),
    "inception_3b": (64, 64, 96, 64, 96, 64),
    "inception_3c": (0, 128, 160, 64, 96, 0),
    "inception_4a": (224, 64, 96, 96, 128, 128),
    "inception_4b": (192, 96, 128, 96, 128, 128),
    "inception_4c": (160, 128, 160, 128, 160, 128),
    "inception_4d": (96, 128, 192, 160, 192, 128),
    "inception_4e": (0, 128, 192, 192, 256, 0),
    "inception_5a": (352, 192, 320, 160, 224, 128),
    "inception_5b": (352, 192, 320, 192, 224, 128),
}
_TAPS = (
    ("conv1_7x7_s2_relu", 64, 2),
    ("conv2_3x3_relu", 192, 4),
    ("inception_3b_output", 320, 8),
    ("inception_4d_output", 608, 16),
    ("inception_5b_output", 1024, 32),
)


Traceable = torch.Tensor | torch.fx.Proxy
"""A tensor, or what stands for one while torch.fx traces the network."""


class Concatenation(nn.Module):
    """Join a block's branches along channels: a module, so that a node of a trace ends there."""

    def forward(self, *branches: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        return torch.cat(branches, dim=1)


class HalvingMaxPool(nn.Module):
    """Pool 3x3 at stride 2 to the size of the convolutions beside it, for odd sizes too.

    Equals Caffe's unpadded pooling on even sizes: its input is rectified, so the zeros that
    are appended never exceed it.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [frames, channels, rows, columns] of half the size, rounded up."""
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, stride=2, ceil_mode=True)


class BNInception(nn.Module):
    """The network, under timm's interface; its submodules are flat, as the published names are.

    BatchNorm averages with PyTorch's momentum of 0.1, which is Caffe's 0.9.
    """

    num_features = head_hidden_size = 1024

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
    ) -> None:
        """Build with random weights."""
        super().__init__()
        self.grad_checkpointing = False
        self.feature_info = [
            {"module": module, "num_chs": channels, "reduction": reduction}
            for module, channels, reduction in _TAPS
        ]
        self._add_convolution("conv1_7x7_s2", in_chans, 64, kernel=7, stride=2)
        self.pool1_3x3_s2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self._add_convolution("conv2_3x3_reduce", 64, 64, kernel=1)
        self._add_convolution("conv2_3x3", 64, 192, kernel=3)
        self.pool2_3x3_s2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        channels = 192
        for block in _BLOCKS:
            channels = self._add_block(block, channels)
        # The last block alone keeps the maximum of its neighbourhoods.
        self.inception_5b_pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, global_pool)
        self.register_load_state_dict_pre_hook(_accept_first_conversion)

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.last_linear

    def reset_classifier(self, num_classes: int, global_pool: str = "avg") -> None:
        """Replace the classifier; 0 classes leave pooled features, and "" unpooled maps."""
        self.num_classes = num_classes
        self.global_pool, *_, self.last_linear = create_classifier(
            self.num_features, num_classes, pool_type=global_pool
        )

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its maps."""
        self.grad_checkpointing = enable

    def forward_features(self, x: Traceable) -> Traceable:
        """Return the last block's maps, [frames, 1024, rows, columns] 32 pixels apart."""
        x = self.pool1_3x3_s2(self._convolve(x, "conv1_7x7_s2"))
        x = self.pool2_3x3_s2(self._convolve(x, "conv2_3x3_reduce", "conv2_3x3"))
        for block in _BLOCKS:
            if self.grad_checkpointing and torch.is_grad_enabled():
                x = checkpoint(self._mix, x, block, use_reentrant=False)
            else:
                x = self._mix(x, block)
        return x

    def forward_head(self, x: Traceable, pre_logits: bool = False) -> Traceable:
        """Pool, drop and classify; `pre_logits` stops before the classifier."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.last_linear(x)

    def forward(self, x: Traceable) -> Traceable:
        """Return logits."""
        return self.forward_head(self.forward_features(x))

    def _add_convolution(
        self, name: str, in_channels: int, out_channels: int, *, kernel: int, stride: int = 1
    ) -> None:
        # The published convolutions have biases, though BatchNorm follows.
        convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2)
        self.add_module(name, convolution)
        self.add_module(f"{name}_bn", nn.BatchNorm2d(out_channels))
        self.add_module(f"{name}_relu", nn.ReLU(inplace=True))

    def _add_block(self, block: str, channels: int) -> int:
        """Add a block that reads `channels`; return how many it gives."""
        single, reduce, triple, double_reduce, double, projection = _BLOCKS[block]
        stride = 2 if _halves(block) else 1
        if single:
            self._add_convolution(f"{block}_1x1", channels, single, kernel=1)
        self._add_convolution(f"{block}_3x3_reduce", channels, reduce, kernel=1)
        self._add_convolution(f"{block}_3x3", reduce, triple, kernel=3, stride=stride)
        self._add_convolution(f"{block}_double_3x3_reduce", channels, double_reduce, kernel=1)
        self._add_convolution(f"{block}_double_3x3_1", double_reduce, double, kernel=3)
        self._add_convolution(f"{block}_double_3x3_2", double, double, kernel=3, stride=stride)
        if projection:
            self.add_module(f"{block}_pool", nn.AvgPool2d(3, stride=1, padding=1))
            self._add_convolution(f"{block}_pool_proj", channels, projection, kernel=1)
        else:
            self.add_module(f"{block}_pool", HalvingMaxPool())
        self.add_module(f"{block}_output", Concatenation())
        return single + triple + double + (projection or channels)

    def _convolve(self, x: Traceable, *names: str) -> Traceable:
        for name in names:
            for layer in (name, f"{name}_bn", f"{name}_relu"):
                x = self.get_submodule(layer)(x)
        return x

    def _mix(self, x: Traceable, block: str) -> Traceable:
        outputs = [
            self._convolve(x, f"{block}_3x3_reduce", f"{block}_3x3"),
            self._convolve(x, *(f"{block}_double_3x3_{step}" for step in ("reduce", "1", "2"))),
            self.get_submodule(f"{block}_pool")(x),
        ]
        if not _halves(block):
            outputs.insert(0, self._convolve(x, f"{block}_1x1"))
            outputs[-1] = self._convolve(outputs[-1], f"{block}_pool_proj")
        return self.get_submodule(f"{block}_output")(*outputs)


def _halves(block: str) -> bool:
    return _BLOCKS[block][0] == 0


def _accept_first_conversion(
    module: nn.Module, state_dict: dict[str, torch.Tensor], prefix: str, *_: Any
) -> None:
    """Rewrite TSN's own file: its BatchNorm tensors are [1, channels], its classifier `fc`."""
    for name in [name for name in state_dict if name.startswith(prefix)]:
        if "_bn." in name and state_dict[name].ndim == 2:
            state_dict[name] = state_dict[name].squeeze(0)
        elif name.startswith(f"{prefix}fc."):
            renamed = f"{prefix}last_linear.{name.removeprefix(f'{prefix}fc.')}"
            state_dict[renamed] = state_dict.pop(name)


default_cfgs = generate_default_cfgs(
    {
        "bn_inception": {
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "crop_pct": 0.875,
            "interpolation": "bilinear",
            "mean": (104 / 255, 117 / 255, 128 / 255),
            "std": (1 / 255, 1 / 255, 1 / 255),
            "num_classes": 1000,
            "first_conv": "conv1_7x7_s2",
            "classifier": "last_linear",
        }
    }
)


@register_model
def bn_inception(pretrained: bool = False, **options: Any) -> BNInception:
    """Build for timm.create_model, which names the arguments."""
    return build_model_with_cfg(
        BNInception, "bn_inception", pretrained, feature_cfg={"feature_cls": "fx"}, **options
    )
