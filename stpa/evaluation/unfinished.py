"""A sweep's scores while it runs: a killed one goes on with the videos that are missing."""

import json
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from stpa.evaluation.k_sweep import LogitsByK, LogitsByVideo
from stpa.files import append_record, read_records

_RECORD = TypeAdapter(tuple[str, dict[int, list[float]]])
"""A video's id, and its logits by K."""


class UnfinishedScores:
    """Logits by video and K, in a file of records; each video is appended as it comes."""

    def __init__(self, file: Path) -> None:
        """Load what `file` holds, if it is there."""
        self._file = file
        self.logits: LogitsByVideo = {}
        for video_id, by_k in read_records(file, _RECORD.validate_json):
            self.logits[video_id] = {
                k: np.array(logits, dtype=np.float32) for k, logits in by_k.items()
            }

    def add(self, video_id: str, logits: LogitsByK) -> None:
        """Keep one more video."""
        record = [video_id, {k: values.tolist() for k, values in logits.items()}]
        append_record(self._file, json.dumps(record))
        self.logits[video_id] = logits

    def remove(self) -> None:
        """Delete the file: the whole has been written elsewhere."""
        self._file.unlink(missing_ok=True)
