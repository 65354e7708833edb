"""Accuracies of logits against labels. Equal logits count for the class of the lower index."""

import numpy as np

from stpa.shapes import Bool, Float, Int


def correct(
    logits: Float[np.ndarray, "videos classes"], labels: Int[np.ndarray, " videos"]
) -> Bool[np.ndarray, " videos"]:
    """Tell for each video whether its highest logit is its label's."""
    return logits.argmax(axis=1) == labels


def top1(logits: Float[np.ndarray, "videos classes"], labels: Int[np.ndarray, " videos"]) -> float:
    """Return the share of videos whose highest logit is their label's."""
    return float(correct(logits, labels).mean())


def top5(logits: Float[np.ndarray, "videos classes"], labels: Int[np.ndarray, " videos"]) -> float:
    """Return the share of videos whose label is among their five highest logits."""
    highest = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    return float((highest == labels[:, None]).any(axis=1).mean())


def confusion(
    logits: Float[np.ndarray, "videos classes"], labels: Int[np.ndarray, " videos"]
) -> Int[np.ndarray, "classes classes"]:
    """Count videos by label (row) and by highest logit (column)."""
    num_classes = logits.shape[1]
    pairs = labels * num_classes + logits.argmax(axis=1)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def mean_class_accuracy(
    logits: Float[np.ndarray, "videos classes"], labels: Int[np.ndarray, " videos"]
) -> float:
    """Return the mean over classes of each one's accuracy: what TSN reports as its accuracy.

    Classes without a video do not count.
    """
    counts = confusion(logits, labels)
    totals = counts.sum(axis=1)
    return float((counts.diagonal()[totals > 0] / totals[totals > 0]).mean())
