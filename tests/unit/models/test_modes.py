"""Every backbone, with the attention, in every mode that training and serving may run it in."""

import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn

from stpa.models.heads import Frames, HeadOutput
from stpa.models.network import ActionNetwork
from stpa.training.loop import loss_terms, total_loss, train_step
from tests.unit.models.test_network import SPEC
from tests.unit.training.test_loop import step_options

SIZES = {
    "resnet18": 64,
    "mobilenetv2_100": 64,
    "bn_inception": 64,
    "inception_resnet_v2": 128,
    "vgg16_bn": 64,
    "vgg16": 64,
}
"""Side of the input that leaves each network two by two positions at its top, px."""

PATCHES = 8
"""In a row of each frame."""

LIGHT = ["resnet18"]
HEAVY = [pytest.param(name, marks=pytest.mark.slow) for name in SIZES if name not in LIGHT]
TARGETS = torch.eye(3)[[0, 2]]
BF16_ERROR = 0.05
"""Largest error of a logit under bfloat16, as a share of the largest logit. Batch norms that
blow small differences up, as in these networks, know no such bound for the backbone."""
BF16_HEAD_ERROR = 0.03
"""The same of the head and the tail, for any backbone: 0.021 with VGG, which has a convolution of
7 x 7 there."""

every_backbone = pytest.mark.parametrize("name", [*LIGHT, *HEAVY])


def new_network(name: str) -> ActionNetwork:
    torch.manual_seed(0)
    return ActionNetwork(replace(SPEC, backbone=name, input_size=SIZES[name], dropout=0.0))


def make_network(name: str) -> ActionNetwork:
    """Build a network whose batch norms know its inputs, so that its features differ."""
    network = new_network(name)
    for norm in network.backbone.batch_norms:
        norm.momentum = None  # the statistics of all that it has seen
        nn.init.uniform_(norm.weight, 0.5, 1.5)  # some start at zero and mute their branch
    with torch.no_grad():
        network(random_clips(name))
    return network.eval()


def random_clips(name: str, time: int = 3) -> torch.Tensor:
    """Draw clips of large patches: noise would look the same everywhere to a batch norm."""
    generator = torch.Generator().manual_seed(time)
    size = (len(TARGETS), time, 3, PATCHES, PATCHES)
    patches = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    side = SIZES[name] // PATCHES
    return patches.repeat_interleave(side, dim=-1).repeat_interleave(side, dim=-2)


def freeze_batch_norms(network: ActionNetwork) -> ActionNetwork:
    network.train()
    network.backbone.eval()
    return network


def loss_of(network: ActionNetwork, output: HeadOutput) -> torch.Tensor:
    terms = loss_terms(output, TARGETS, multi_label=False)
    return total_loss(terms, network.head.options.loss_weights)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.detach() - expected).abs().max() / expected.abs().max())


def gradients(network: ActionNetwork) -> dict[str, torch.Tensor]:
    """Return the gradients of all parameters, by name, and forget them."""
    found = {name: value.grad for name, value in network.named_parameters()}
    assert [name for name, gradient in found.items() if gradient is None] == []
    network.zero_grad()
    return {name: gradient for name, gradient in found.items() if gradient is not None}


@every_backbone
def test_channels_last_gives_the_same_logits(name: str) -> None:
    network, clips = make_network(name), random_clips(name)
    with torch.no_grad():
        expected = network(clips).logits
        network.to(memory_format=torch.channels_last)
        assert relative_error(network(clips).logits, expected) < 1e-4
        for maps in network.pyramid(clips.flatten(0, 1)):
            assert maps.is_contiguous(memory_format=torch.channels_last)


@every_backbone
def test_attention_adds_little_to_what_bfloat16_does_to_the_backbone(name: str) -> None:
    network, clips = freeze_batch_norms(make_network(name)), random_clips(name)
    with torch.autocast("cpu", torch.bfloat16):
        output = network(clips)
        loss = loss_of(network, output)
        pyramid = network.pyramid(clips.flatten(0, 1))
    with torch.no_grad():
        frames = Frames([maps.float() for maps in pyramid], len(clips))
        exact = network.head(frames, network.backbone.tail)
    assert relative_error(output.logits, exact.logits) < BF16_HEAD_ERROR
    for part in (*output.terms.values(), *output.metrics.values()):
        assert part.dtype is torch.float32
        assert part.isfinite().all()
    loss.backward()
    assert all(gradient.isfinite().all() for gradient in gradients(network).values())


@every_backbone
def test_bfloat16_is_close_where_training_starts(name: str) -> None:
    network, clips = new_network(name).eval(), random_clips(name)
    with torch.no_grad():
        expected = network(clips).logits
        with torch.autocast("cpu", torch.bfloat16):
            assert relative_error(network(clips).logits, expected) < BF16_ERROR


@every_backbone
def test_recomputed_chunks_give_the_gradients_of_the_whole(name: str) -> None:
    network, clips = freeze_batch_norms(make_network(name)), random_clips(name, time=4)

    def step(frames_at_once: int | None) -> dict[str, torch.Tensor]:
        output = network(clips, frames_at_once=frames_at_once)
        loss_of(network, output).backward()
        return gradients(network)

    whole, chunked = step(None), step(3)
    for key, gradient in chunked.items():
        assert relative_error(gradient, whole[key]) < 1e-3, key


@every_backbone
def test_one_batch_is_learnt_by_heart(name: str) -> None:
    network, clips = make_network(name).train(), random_clips(name)
    # Untrained and without batch norms, vgg16 takes smaller steps and more of them.
    rate, most_pairs = (1e-4, 25) if name == "vgg16" else (3e-4, 10)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)

    def take_two_steps() -> float:
        options = step_options(network)
        steps = [
            train_step(network, {"frames": clips, "target": TARGETS}, optimizer, options)
            for _ in range(2)
        ]
        return sum(step["classification"].item() for step in steps) / 2

    assert any(take_two_steps() < 0.05 for _ in range(most_pairs))


@pytest.fixture
def unchecked() -> Iterator[Executor]:
    """A process whose annotations are not checked: torch.compile cannot look into the checks.

    A fresh one a test, since the graphs of so many networks exceed its recompilation limit.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


def compiled_error(name: str, backend: str) -> float:
    network, clips = make_network(name), random_clips(name)
    compiled = torch.compile(network, backend=backend, fullgraph=True)
    with torch.no_grad():
        return relative_error(compiled(clips).logits, network(clips).logits)


def compiled_gradient_error(name: str, backend: str) -> float:
    network, clips = freeze_batch_norms(make_network(name)), random_clips(name)

    def step(forward: Callable[[torch.Tensor], HeadOutput]) -> dict[str, torch.Tensor]:
        loss_of(network, forward(clips)).backward()
        return gradients(network)

    whole = step(network)
    compiled = step(torch.compile(network, backend=backend, fullgraph=True))
    return max(relative_error(compiled[key], gradient) for key, gradient in whole.items())


def test_compiled_whole_it_gives_the_same_gradients(unchecked: Executor) -> None:
    assert unchecked.submit(compiled_gradient_error, "resnet18", "aot_eager").result() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_compiled_whole_it_gives_the_same_logits(name: str, unchecked: Executor) -> None:
    assert unchecked.submit(compiled_error, name, "aot_eager").result() < 1e-4


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100"])
def test_compiled_to_machine_code_it_gives_the_same_logits(name: str, unchecked: Executor) -> None:
    assert unchecked.submit(compiled_error, name, "inductor").result() < 1e-4
