"""TSN's cross-modality initialisation of the flow stream's first convolution."""

import pytest
import torch

from stpa.models.backbones import Backbone
from tests.twin import tsn_twin


def state(name: str, in_channels: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    backbone = Backbone(name, in_channels=in_channels, input_size=96, num_scales=2)
    return backbone.state_dict()


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "bn_inception"])
def test_the_first_kernel_alone_is_adapted_to_flow_by_tsn_s_formula(name: str) -> None:
    rgb, flow = state(name, 3), state(name, 10)
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
