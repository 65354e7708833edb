"""A model that is loaded once and classifies any number of videos."""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stpa.data.killable import KillablePool
from stpa.evaluation import predict
from stpa.evaluation.judging import judging_of
from stpa.serving.prepare import Prepared, prepare
from stpa.serving.result import Result, choose_labels
from stpa.serving.sources import Source, describe_sources

logger = logging.getLogger(__name__)


class Classifier:
    """Classifies videos: `stpa.load` makes one.

    Videos are decoded, and their optical flow is computed, in processes of their own, while the
    networks run in this one. These processes stay until `close`, or until this process ends.
    """

    def __init__(
        self, networks: predict.Classifier, pool: KillablePool, *, model: str, title: str
    ) -> None:
        """Take loaded networks, and the processes that read videos for them."""
        self._networks = networks
        self._pool = pool
        self.model = model
        """Name and version, as video-classifier-fusion/3, or a folder."""
        self.title = title
        """The same for a person, and whether it is champion or challenger."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of all classes."""
        return self._networks.class_names

    @property
    def multi_label(self) -> bool:
        """Whether a video may have any number of labels."""
        return self._networks.multi_label

    def predict(
        self, videos: str | Path | Iterable[str | Path], threshold: float | None = None
    ) -> list[Result]:
        """Classify videos, given by paths or addresses (http(s):// or s3://), in their order.

        A video that cannot be read has a result with an `error`. `threshold` is the least
        probability of a label (see `Result.labels`).
        """
        given = [videos] if isinstance(videos, str | Path) else videos
        sources = describe_sources(given)
        found = dict(self.classify(list(dict.fromkeys(sources)), threshold))
        return [found[source] for source in sources]

    def classify(
        self, sources: Sequence[Source], threshold: float | None = None, *, explain: bool = False
    ) -> Iterator[tuple[Source, Result]]:
        """Yield each source with its result, as it is done; with `explain`, with what decided."""
        # A process whose call is given up may still be writing there.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            calls = {}
            for source in sources:
                if source.error is not None:
                    yield source, Result(source.name, error=source.error)
                    continue
                calls[source] = (
                    *(source.path, self._networks.reading, self._pool.limits),
                    *(Path(folder), explain),
                )
            for source, prepared in self._pool.call(prepare, calls):
                yield source, self._result(source, prepared, threshold, explain)

    def close(self) -> None:
        """End the processes that read videos."""
        self._pool.close()

    def _result(
        self, source: Source, prepared: Prepared | str, threshold: float | None, explain: bool
    ) -> Result:
        if isinstance(prepared, str):
            return Result(source.name, error=prepared)
        if prepared.remarks:
            logger.warning("%s: %s", source.name, "; ".join(prepared.remarks))
        clips, explanation = prepared.clips, None
        if explain:
            explanation = self._networks.explain_clips(clips, prepared.fps)
        logits = explanation.scores if explanation else self._networks.score_clips(clips)
        probabilities = judging_of(self.multi_label).probabilities(logits).tolist()
        ranked = sorted(zip(probabilities, self.class_names, strict=True), key=lambda one: -one[0])
        scores = {name: probability for probability, name in ranked}
        return Result(
            path=source.name,
            labels=choose_labels(scores, multi_label=self.multi_label, threshold=threshold),
            scores=scores,
            seconds=prepared.num_frames / prepared.fps if prepared.fps else None,
            explanation=explanation,
        )
