"""A loss that goes wrong stops the training at the next step, with the videos it came of."""

import pytest
import torch

from stpa.errors import ModelError
from stpa.training.guard import LARGEST, LossGuard

VIDEOS = torch.arange(7)


def watch(guard: LossGuard, loss: float, norm: float = 1.0, step: str = "step 1") -> None:
    seen = {"loss": loss, "gradient_norm": norm, "top1": 0.5}
    guard.watch({name: torch.tensor(value) for name, value in seen.items()}, VIDEOS, step)


@pytest.mark.parametrize(
    ("loss", "norm", "said"),
    [
        (torch.nan, 1.0, "the loss is nan and the gradient's norm 1"),
        (-torch.inf, 1.0, "the loss is -inf"),
        (-2 * LARGEST, 1.0, r"the loss is -2e\+06"),
        (
            1.0,
            torch.inf,
            "the loss is 1 and the gradient's norm inf .* or of another worker's share: ",
        ),
        (1.0, torch.nan, "norm nan"),
    ],
)
def test_what_is_no_sound_number_is_told_with_its_step_and_its_videos(loss, norm, said):
    guard = LossGuard(lambda index: f"v{index}.avi")
    watch(guard, loss, norm, step="step 4 of epoch 2")
    with pytest.raises(ModelError, match=said) as caught:
        watch(guard, 1.0, step="step 5 of epoch 2")
    message = str(caught.value)
    assert (
        f"at step 4 of epoch 2, of the videos {', '.join(f'v{n}.avi' for n in range(7))}" in message
    )
    assert "learning_rate" in message


def test_a_checkpoint_waits_for_the_last_step():
    guard = LossGuard(str)
    watch(guard, torch.nan)
    with pytest.raises(ModelError):
        guard.settle()
    guard.settle()


def test_sound_numbers_pass_however_large_the_gradient_that_is_clipped():
    guard = LossGuard(str)
    for loss, norm in [(0.0, 0.0), (-LARGEST, 1e30), (LARGEST, 1.0)]:
        watch(guard, loss, norm)
    guard.settle()


def test_means_are_over_the_clips_of_the_steps_before_the_last():
    guard = LossGuard(str)
    assert guard.means == {}
    for loss, top1, num_clips in [(1.0, 1.0, 1), (4.0, 0.5, 2), (100.0, 0.0, 1)]:
        seen = {"loss": loss, "top1": top1, "gradient_norm": 1.0}
        guard.watch(
            {name: torch.tensor(value) for name, value in seen.items()}, VIDEOS[:num_clips], ""
        )
    assert guard.means == pytest.approx({"loss": 3.0, "top1": 2 / 3})
    guard.settle()
    guard.start_epoch()
    assert guard.means == {}
