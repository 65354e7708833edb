"""Put up the networks trained from today's inputs, fused and judged, for promotion."""

from stpa.config import Config, Stream
from stpa.evaluation.scores import Scores
from stpa.files import digest_value
from stpa.registry.candidate import Candidate, Judgement, Network
from stpa.stages.fuse import fuse
from stpa.stages.train import SERVED_HEAD, find_trained
from stpa.workspace import Workspace


def gather_candidate(workspace: Workspace, config: Config) -> Candidate:
    """Return the candidate. Raises StpaError when a stream is not trained or not evaluated yet."""
    models = {stream: find_trained(workspace, config, stream, SERVED_HEAD) for stream in Stream}
    fused = fuse(workspace, config, SERVED_HEAD)
    late_fusion, num_segments = config.evaluate.late_fusion, config.evaluate.num_segments
    num_crops = config.evaluate.num_crops
    determinants = {
        "networks": {stream.value: model.key for stream, model in models.items()},
        "late_fusion": late_fusion,
        "num_segments": num_segments,
        "num_crops": num_crops,
        "data": fused.data_version,
    }
    return Candidate(
        key=digest_value(determinants),
        networks={stream: Network(model.folder, model.run_id) for stream, model in models.items()},
        late_fusion=late_fusion,
        num_segments=num_segments,
        num_crops=num_crops,
        judgement=_judgement(fused, num_segments),
    )


def _judgement(fused: Scores, num_segments: int) -> Judgement:
    names = fused.class_names
    return Judgement(
        data_version=fused.data_version,
        class_names=names,
        video_ids=fused.video_ids,
        labels=tuple(names[label] for label in fused.labels),
        predictions=tuple(names[best] for best in fused.at(num_segments).argmax(axis=1)),
    )
