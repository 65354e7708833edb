"""The losses on attention of Du et al., ECCV 2018, eq. 6-8."""

import torch

from stpa.shapes import Float


def interactive_loss(
    maps: Float[torch.Tensor, "clips maps channels"],
    weights: Float[torch.Tensor, "clips maps positions"],
) -> Float[torch.Tensor, ""]:
    """Return l_interactive (eq. 6), the mean over clips. Has no lower bound.

    Its first term, the trace of A X X^T A^T, is the squared norm of M = A X.
    """
    gram = weights @ weights.mT
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    off_diagonal = gram.square().sum(dim=(1, 2)) - diagonal.square().sum(dim=1)
    return (off_diagonal - maps.square().sum(dim=(1, 2))).mean()


def attention_loss(
    weights: Float[torch.Tensor, "clips maps positions"],
    scale_weights: Float[torch.Tensor, "scales clips maps positions"],
) -> Float[torch.Tensor, ""]:
    """Return l_attn (eq. 7-8), the mean over clips.

    The `a` of eq. 7 is taken as L2-normalised, as section 3.1 leaves it.
    """
    distance = (weights - scale_weights).square()
    return (1 - distance).sum(dim=(0, 2, 3)).sqrt().mean()
