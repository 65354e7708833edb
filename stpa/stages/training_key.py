"""The digest that names a training: of everything that decides its weights."""

from dataclasses import asdict

from stpa.config import Config
from stpa.data.versioning import DataVersion
from stpa.files import digest_value
from stpa.models.heads import HEADS, head_options
from stpa.stages.feature_files import stored_sweep
from stpa.streams import Stream
from stpa.weights import weights_digest

ONLY_FOR_PYRAMIDS = {"top_layer", "num_scales", "downsampling"}
"""Parameters that decide nothing of the weights of a head that sees the top map alone, so that one
baseline serves every ablation. (Where a network is cut changes no number that it computes.)"""


def training_key(config: Config, stream: Stream, head: str, data: DataVersion) -> str:
    """Digest everything that decides the weights of a stream's network."""
    unused = _without_effect(config, head) | (_of_other_streams(stream))
    is_frozen = config.model.freezes_backbone
    if not is_frozen:  # as before there was a choice
        unused.add("freeze")
    if not config.stores_features:
        unused.add("stored_views")
    if not config.starts_warm:
        unused |= {"warm_start", "warm_start_steps", "warm_start_frames"}
    train = config.train.model_dump(mode="json", exclude={"streams", *unused})
    weights = config.model.pretrained
    if isinstance(weights, str):
        weights = weights_digest(weights)
    return digest_value(
        {
            "stream": stream.name,
            "head": head,
            "head_options": head_options(head, config.model.heads[head]).to_dict(),
            "model": config.model.model_dump(mode="json", exclude={"pretrained", "heads", *unused}),
            "pretrained": weights,
            "workers": config.compute.workers_per_stream,  # each has batch statistics of its own
            "train": train | config.train.stream(stream).model_dump(mode="json"),
            "manifest": data.manifest,
            "optical_flow": data.optical_flow if stream.reads_optical_flow else None,
        }
        # Frozen networks train at the positions that the K-sweep looks at.
        | ({"sweep": asdict(stored_sweep(config))} if is_frozen else {})
    )


def _of_other_streams(stream: Stream) -> set[str]:
    return ({"flow_input"} if stream.rest_level is None else set()) | (
        set() if stream.reads_optical_flow else {"flow_stem"}
    )


def _without_effect(config: Config, head: str) -> set[str]:
    """Return the parameters that decide nothing of the weights of a network with `head`.

    How many clips and frames go at once changes what dropout draws and how sums are rounded, but no
    expectation, unless batch norms learn and take statistics of a stated number of clips.
    """
    unused = {"clips_at_once", "frames_at_once"}
    frozen = config.train.frozen_batch_norms(config.model.pretrained)
    no_norm_learns = config.model.freezes_backbone or frozen == "all"
    if not no_norm_learns and isinstance(config.train.clips_at_once, int):
        unused.remove("clips_at_once")
    return unused | (set() if HEADS[head].uses_pyramid else ONLY_FOR_PYRAMIDS)
