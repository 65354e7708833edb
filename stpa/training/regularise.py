"""What keeps a network from being sure of its training clips: softened and mixed targets."""

import torch

from stpa.shapes import Float, UInt8


def smooth_labels(
    targets: Float[torch.Tensor, "clips classes"], share: float, *, multi_label: bool
) -> Float[torch.Tensor, "clips classes"]:
    """Give `share` of each target to not knowing (Szegedy et al., CVPR 2016, section 7).

    That is all classes alike where a clip shows exactly one, else even chances for each class.
    """
    unknown = 0.5 if multi_label else 1 / targets.shape[1]
    return targets * (1 - share) + share * unknown


def mix_up(
    frames: UInt8[torch.Tensor, "clips time *frame"] | Float[torch.Tensor, "clips time *frame"],
    targets: Float[torch.Tensor, "clips classes"],
    alpha: float,
) -> tuple[Float[torch.Tensor, "clips time *frame"], Float[torch.Tensor, "clips classes"]]:
    """Blend each clip, of frames or of features, and its target with another's
    (Zhang et al., ICLR 2018, eq. 1).

    One weight for all, drawn from Beta(alpha, alpha) by PyTorch's global generator.
    """
    weight = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(frames)).to(frames.device)
    blended = torch.lerp(frames[partner].float(), frames.float(), weight)
    return blended, torch.lerp(targets[partner], targets, weight)
