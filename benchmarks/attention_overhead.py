"""The attention layer and its losses against the bare backbone with average pooling.

The peer averages the top feature maps over a clip's frames and goes on once, through the same tail
and classifier: the least work that classifies a clip, and so the peer that favours the attention
least. TSN's own average, of every frame's scores (`--peer tsn`), runs the tail once a frame.
Both use the same weights, and the batch norms are frozen as in training by default, which spares
the backbone and not the attention.
"""

import math
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import torch
import typer
from torch import nn

from benchmarks.material import NUM_CLASSES, PRINTED_WEIGHT, network_spec
from benchmarks.measure import (
    BackboneOption,
    DeviceOption,
    DtypeOption,
    InputSizeOption,
    RepeatsOption,
    Setting,
    compare,
    report,
    run,
)
from stpa.models.heads import HeadOutput
from stpa.models.network import ActionNetwork, NetworkSpec
from stpa.shapes import Float, UInt8
from stpa.terminal import TERMINAL
from stpa.training.loop import loss_terms, total_loss
from stpa.training.optim import freeze, hold_frozen

FROZEN = "all_but_first"


class AveragePooling(nn.Module):
    """Another network's backbone and classifier, round an average of the top maps over frames."""

    def __init__(self, network: ActionNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: UInt8[torch.Tensor, "clips time channels height width"]) -> HeadOutput:
        head, tail = self.network.head, self.network.backbone.tail
        *_, top = self.network.pyramid(clips.flatten(0, 1))
        maps = top.unflatten(0, clips.shape[:2]).mean(dim=1)
        return HeadOutput(head.classifier(head.dropout(tail(maps))))


def main(
    frames: Annotated[list[int] | None, typer.Option("-k", help="K; may be repeated.")] = None,
    peer: Annotated[Literal["pool", "tsn"], typer.Option(help="What to compare with.")] = "pool",
    backbone: BackboneOption = "inception_resnet_v2",
    input_size: InputSizeOption = 299,
    batch: Annotated[int, typer.Option(min=1, help="Clips.")] = 1,
    compiled: Annotated[bool, typer.Option("--compile", help="By torch.compile.")] = False,
    repeats: RepeatsOption = 5,
    device: DeviceOption = None,
    dtype: DtypeOption = "float32",
) -> None:
    """Time forward, and forward and backward with both losses, at K = 3 and 25."""
    setting = Setting.choose(device, dtype)
    attending, bare = _networks(network_spec(backbone, input_size), peer)
    for network in (attending, bare):
        network.to(setting.device)
        if compiled:
            network.compile()
    figures = []
    for num_frames in frames or (3, 25):
        batch_of_clips = _random_batch(batch, num_frames, input_size, setting)
        for phase, work, bound in (("inference", _infer, 1.05), ("training", _train, 1.10)):
            for network in (attending, bare):
                network.train(phase == "training")
            hold_frozen(attending.backbone, FROZEN)
            with TERMINAL.bar(f"{phase}, K={num_frames}") as progress:
                figures += compare(
                    f"{phase}, K={num_frames}",
                    partial(work, attending, *batch_of_clips, setting),
                    partial(work, bare, *batch_of_clips, setting),
                    bound=bound,
                    repeats=repeats,
                    setting=setting,
                    progress=progress,
                )
    report(
        "attention_overhead",
        sorted(figures, key=lambda each: each.ratio / (each.bound or math.inf), reverse=True),
        setting,
        peer=peer,
        backbone=backbone,
        input_size=input_size,
        batch=batch,
        compiled=compiled,
        repeats=repeats,
    )


def _networks(spec: NetworkSpec, peer: str) -> tuple[ActionNetwork, nn.Module]:
    """Return the network with attention, and its peer on the same backbone."""
    attending = ActionNetwork(spec)
    freeze(attending.backbone, FROZEN)
    if peer == "pool":
        return attending, AveragePooling(attending)
    tsn = ActionNetwork(replace(spec, head="tsn"))
    tsn.backbone = attending.backbone
    return attending, tsn


def _random_batch(
    num_clips: int, num_frames: int, side: int, setting: Setting
) -> tuple[UInt8[torch.Tensor, "clips time 3 side side"], Float[torch.Tensor, "clips classes"]]:
    frames = torch.randint(0, 256, (num_clips * num_frames, 3, side, side), dtype=torch.uint8)
    clips = frames.unflatten(0, (num_clips, num_frames))
    targets = torch.eye(NUM_CLASSES)[torch.randint(0, NUM_CLASSES, (num_clips,))]
    return clips.to(setting.device), targets.to(setting.device)


@torch.inference_mode()
def _infer(
    network: nn.Module, clips: torch.Tensor, targets: torch.Tensor, setting: Setting
) -> None:
    with setting.autocast():
        network(clips)


def _train(
    network: nn.Module, clips: torch.Tensor, targets: torch.Tensor, setting: Setting
) -> None:
    network.zero_grad(set_to_none=True)
    with setting.autocast():
        output: HeadOutput = network(clips)
        terms = loss_terms(output, targets, multi_label=False)
        loss = total_loss(terms, dict.fromkeys(output.terms, PRINTED_WEIGHT))
    loss.backward()


if __name__ == "__main__":
    run(main)
