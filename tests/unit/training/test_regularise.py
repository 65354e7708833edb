"""Softened and mixed targets are the published ones."""

import pytest
import torch
from torch.nn import functional as F

from stpa.training.regularise import mix_up, smooth_labels

LABELS = torch.tensor([0, 2, 1, 2])
TARGETS = torch.eye(3)[LABELS]


def test_smoothed_labels_give_pytorch_s_own_loss():
    logits = torch.randn(4, 3)
    loss = F.cross_entropy(logits, smooth_labels(TARGETS, 0.1, multi_label=False))
    torch.testing.assert_close(loss, F.cross_entropy(logits, LABELS, label_smoothing=0.1))


def test_several_labels_are_smoothed_towards_even_chances():
    smoothed = smooth_labels(torch.tensor([[1.0, 0.0, 1.0]]), 0.2, multi_label=True)
    torch.testing.assert_close(smoothed, torch.tensor([[0.9, 0.1, 0.9]]))


def test_clips_and_targets_are_blended_by_one_weight():
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (4, 2, 3, 5, 5), dtype=torch.uint8)
    weights = set()
    for _ in range(20):
        blended, targets = mix_up(frames, TARGETS, alpha=0.4)
        assert blended.dtype == torch.float32
        # A clip of another class tells the weight by its own class's target.
        found = [
            (float(targets[0, 0]), frames[0] * targets[0, 0] + (1 - targets[0, 0]) * frames[other])
            for other in (1, 2, 3)
        ]
        assert any(torch.allclose(blended[0], expected, atol=1e-3) for _, expected in found)
        weights.add(round(found[0][0], 3))
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))
    assert len(weights) > 5


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_weights_follow_the_beta_distribution(alpha):
    torch.manual_seed(0)
    frames = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1, 1)
    drawn = []
    for _ in range(3000):
        blended, _ = mix_up(frames, torch.eye(2), alpha)
        drawn.append(blended[0].item() / 255)
    # With itself, half of the time, a clip stays what it is.
    mixed = torch.tensor([value for value in drawn if value > 0])
    variance = 1 / (4 * (2 * alpha + 1))
    assert mixed.mean().item() == pytest.approx(0.5, abs=0.03)
    assert mixed.var().item() == pytest.approx(variance, rel=0.1)
