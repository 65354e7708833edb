"""What the metrics are called in MLflow, whose pages group them by what comes before the slash.

`train/` and `validation/` are series over epochs, `k_sweep/` is one over K, the number of segments
that a test video is judged from. `test/` has one value per run: what was judged, at
`evaluate.num_segments`.
"""

from collections.abc import Mapping

from stpa.config import EvaluateConfig
from stpa.evaluation.scores import Scores
from stpa.registry.tracking import Tracker

TRAIN, TEST, K_SWEEP = "train", "test", "k_sweep"


def track_epoch(tracker: Tracker, run_id: str, metrics: Mapping[str, float]) -> None:
    """Log the metrics of an epoch; those without a group are the training's own."""
    named = {
        name if "/" in name else f"{TRAIN}/{name}": value
        for name, value in metrics.items()
        if name != "epoch"  # the step says it
    }
    tracker.log_metrics(run_id, named, step=int(metrics["epoch"]))


def tracked_epochs(tracker: Tracker, run_id: str) -> set[int]:
    """Return the epochs whose metrics a run holds."""
    return tracker.logged_steps(run_id, f"{TRAIN}/loss")


def track_test_metrics(
    tracker: Tracker, run_id: str, scores: Scores, evaluate: EvaluateConfig
) -> None:
    """Log what a run lacks of a network's or a fusion's metrics on the test videos."""
    for k in sorted(scores.logits.keys() - tracked_values_of_k(tracker, run_id, scores, evaluate)):
        swept = {
            _sweep_name(name, evaluate.num_crops): value
            for name, value in scores.figures(k).items()
        }
        tracker.log_metrics(run_id, swept, step=k)
    judged = scores.figures(evaluate.num_segments)
    tracker.set_metrics(run_id, {f"{TEST}/{name}": value for name, value in judged.items()})
    tracker.tag_run(
        run_id,
        {
            "test.num_segments": str(evaluate.num_segments),
            "test.num_crops": str(evaluate.num_crops),
        },
    )


def tracked_values_of_k(
    tracker: Tracker, run_id: str, scores: Scores, evaluate: EvaluateConfig
) -> set[int]:
    """Return each K at which a run holds the metrics of such scores."""
    return tracker.logged_steps(run_id, _sweep_name(scores.judging.headline, evaluate.num_crops))


def _sweep_name(metric: str, num_crops: int) -> str:
    """Name a series over K; one run may hold several, each judged from another number of crops."""
    return f"{K_SWEEP}/{metric}" if num_crops == 1 else f"{K_SWEEP}/{metric}_{num_crops}_crops"
