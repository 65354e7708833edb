"""Put up the networks trained from today's inputs, fused and judged, for promotion."""

from stpa.config import Config, Stream
from stpa.evaluation.scores import Scores
from stpa.files import digest_value
from stpa.registry.candidate import Candidate, Judgement, Network
from stpa.stages.fuse import fuse
from stpa.stages.train import TrainedModel, find_trained
from stpa.workspace import Workspace

CANDIDATE_HEAD = "stpa"
"""The head that is put up; the others are there to compare with."""


def gather_candidate(workspace: Workspace, config: Config) -> Candidate:
    """Return the candidate. Raises ModelError when a stream is not trained yet."""
    models = _models(workspace, config)
    return Candidate(
        key=_key(config, models),
        networks={
            stream: Network(folder=model.folder, run_id=model.run_id)
            for stream, model in models.items()
        },
        late_fusion=config.evaluate.late_fusion,
        num_segments=config.evaluate.num_segments,
        judgement=_judgement(
            fuse(workspace, config, CANDIDATE_HEAD), config.evaluate.num_segments
        ),
    )


def _models(workspace: Workspace, config: Config) -> dict[Stream, TrainedModel]:
    return {stream: find_trained(workspace, config, stream, CANDIDATE_HEAD) for stream in Stream}


def _key(config: Config, models: dict[Stream, TrainedModel]) -> str:
    return digest_value(
        {
            "networks": {stream.value: model.key for stream, model in models.items()},
            "late_fusion": config.evaluate.late_fusion,
            "num_segments": config.evaluate.num_segments,
        }
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
