"""How a first convolution for RGB takes stacks of flow: TSN's way, and with x and y told apart."""

import pytest
import torch

from stpa.models.backbones import Backbone
from stpa.models.stems import components_as_colours, mean_over_colours
from stpa.streams import FLOW, RGB, Stream
from tests.twin import tsn_twin


def state(name: str, stream: Stream) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    backbone = Backbone(name, stream=stream, input_size=96, num_scales=2)
    return backbone.state_dict()


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "bn_inception"])
def test_the_first_kernel_alone_is_adapted_to_flow_by_tsn_s_formula(name: str) -> None:
    rgb, flow = state(name, RGB), state(name, FLOW)
    (adapted,) = [key for key in rgb if rgb[key].shape != flow[key].shape]
    assert flow.keys() == rgb.keys()
    for key in rgb.keys() - {adapted}:
        torch.testing.assert_close(flow[key], rgb[key], rtol=0, atol=0)
    expected = [
        [
            [tsn_twin.cross_modality_kernel(place, 10) for place in row]
            for row in kernel.movedim(0, -1).tolist()
        ]
        for kernel in rgb[adapted]
    ]
    torch.testing.assert_close(flow[adapted].permute(0, 2, 3, 1), torch.tensor(expected))


def seen(kernel: torch.Tensor, flow: tuple[float, float]) -> torch.Tensor:
    """Return the answer at one place to an even flow (x, y) that stays the same in time."""
    stack = torch.tensor(flow).repeat(5).view(1, 10, 1, 1)
    return torch.nn.functional.conv2d(stack.expand(1, 10, 3, 3), kernel).flatten()


def test_left_differs_from_up_where_x_and_y_pass_for_colours() -> None:
    kernel = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    left, up = (-1.0, 0.0), (0.0, -1.0)
    added, apart = mean_over_colours(kernel, 10), components_as_colours(kernel, 10)
    torch.testing.assert_close(seen(added, left), seen(added, up))
    assert (seen(apart, left) - seen(apart, up)).abs().max() > 0.5


def test_flow_that_is_alike_in_x_and_y_is_seen_as_a_gray_frame() -> None:
    kernel = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    gray = torch.nn.functional.conv2d(torch.full((1, 3, 3, 3), 0.7), kernel).flatten()
    torch.testing.assert_close(seen(components_as_colours(kernel, 10), (0.7, 0.7)), gray)
