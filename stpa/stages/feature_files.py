"""Which features are stored, and what they have to be made from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from stpa.config import Config
from stpa.data.features import FeatureSource, read_key
from stpa.data.manifest import Manifest, Video
from stpa.errors import DataError
from stpa.evaluation.features import CENTRE, Views
from stpa.evaluation.k_sweep import Sweep
from stpa.files import digest_value
from stpa.models.network import NetworkSpec
from stpa.stages.storage import feature_storage
from stpa.streams import Stream
from stpa.weights import weights_digest
from stpa.workspace import Workspace

_DECISIVE = (
    "stream",
    "backbone",
    "backbone_options",
    "top_layer",
    "num_scales",
    "downsampling",
    "input_size",
    "short_side",
    "input_mean",
    "input_std",
)
"""What of a network's spec decides its backbone's features, next to the weights."""


def stored_sweep(config: Config) -> Sweep:
    """Return at which positions features are stored, in the centre crop.

    Those of the K-sweep, where it is made on them; `train.warm_start_frames` of each video, where
    only heads learn from them.
    """
    if config.model.freezes_backbone:
        return Sweep(tuple(sorted(set(config.evaluate.sweep))), config.evaluate.grid)
    return Sweep((config.train.warm_start_frames,), "exact")


def videos_with_features(config: Config, manifest: Manifest) -> list[Video]:
    """Return the videos whose features are stored: those that are learnt from, and those that are
    judged by their features."""
    return manifest.usable if config.model.freezes_backbone else manifest.select("train")


def stored_views(config: Config, stream: Stream) -> Views:
    """Return in which views features are stored."""
    train = config.train
    if train.stored_views == 1:
        return CENTRE
    scales = tuple(train.stream(stream).scale_jitter)
    return Views(train.stored_views, scales, train.horizontal_flip, train.seed)


def feature_keys(config: Config, network: NetworkSpec, videos: Sequence[Video]) -> dict[Video, str]:
    """Digest everything that decides the features of each video in the network's stream."""
    shared = shared_key(config, network)
    return {video: digest_value([shared, video.sha256]) for video in videos}


def shared_key(config: Config, network: NetworkSpec) -> str:
    """Digest what decides the features of all videos alike."""
    spec, stream = network.to_dict(), network.stream
    weights = config.model.pretrained
    return digest_value(
        {
            "network": {name: spec[name] for name in _DECISIVE},
            "weights": weights_digest(weights) if isinstance(weights, str) else weights,
            "sweep": asdict(stored_sweep(config)),
            "views": asdict(stored_views(config, stream)),
            "flow": config.optical_flow.model_dump() if stream.reads_optical_flow else None,
            "flow_stem": spec["flow_stem"] if stream.reads_optical_flow else None,
        }
    )


def missing_features(
    workspace: Workspace, keys: Mapping[Video, str], stream: Stream
) -> list[Video]:
    """Return the videos whose features are not stored, or were made from something else."""
    folder = feature_folder(workspace, stream)
    return [video for video, key in keys.items() if read_key(folder / video.feature_path) != key]


def find_features(
    workspace: Workspace, config: Config, network: NetworkSpec, videos: Sequence[Video]
) -> FeatureSource:
    """Return what the network's backbone made of `videos`; DataError where any are missing."""
    keys, stream = feature_keys(config, network, videos), network.stream
    if missing := missing_features(workspace, keys, stream):
        raise DataError(
            f"the {stream} features of {len(missing)} of {len(keys)} videos are not stored, "
            f"{missing[0]} first: run `stpa features`"
        )
    return FeatureSource(
        feature_storage(workspace, config, stream),
        config.train.stored_views,
        {video.video_id: key for video, key in keys.items()},
    )


def feature_folder(workspace: Workspace, stream: Stream) -> Path:
    """Return where a stream's features are."""
    return workspace.features / stream.name
